//! The smallest chat: what one says, all others read. `chat [ADDRESS]`, and then `nc localhost 4050`.

use eventdispatcher::{Signal, codec::Lines, communicator, on_item};
use std::{cell::RefCell, error::Error, rc::Rc};

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:4050".into());
    let communicator = communicator();
    let guests = Rc::new(RefCell::new(Vec::new()));
    let listening = communicator.listen_tcp(address.parse()?, move |client| {
        let (name, all) = (client.peer().to_owned(), guests.clone());
        let speak = on_item::<Lines, _>(move |line, cx| {
            all.borrow_mut().retain(|guest| cx.is_alive(*guest));
            let others: Vec<_> = all.borrow().iter().copied().filter(|guest| *guest != cx.id()).collect();
            cx.broadcast(others, &format!("{name}: {line}"))?;
            Ok(())
        });
        guests.borrow_mut().push(client.serve(Lines::new(), speak)?);
        Ok(())
    })?;
    println!("{}", listening.address());
    communicator.signals([Signal::INT, Signal::TERM], |_, communicator| communicator.close_all())?;
    Ok(communicator.run()?)
}
