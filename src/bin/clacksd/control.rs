//! The operator's messages: a socket of its own, which answers the built-in commands of services.

use crate::plan::Control;
use crate::reload::Reload;
use crate::shared::logging::LogFile;
use eventdispatcher::connections::clacks::Server;
use eventdispatcher::connections::messages::{Call, DatagramMessages, Dispatcher, Hooks, Service};
use eventdispatcher::dispatcher::{Message, MessageRef, Messages};
use eventdispatcher::{Communicator, HandlerResult, Timeouts, UnixBind};
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// So many operators at a time.
const CLIENTS_MAX: usize = 16;
/// Nobody of them is silent for so long.
const IDLE_MAX: Duration = Duration::from_secs(600);
/// The longest message, in bytes.
const LINE_MAX: usize = 64 << 10;

/// What an operator can reach.
pub(crate) struct Operator {
    pub(crate) server: Server,
    pub(crate) reload: Reload,
    pub(crate) log: Option<LogFile>,
}

/// Listens for the operator, who must be the user of this process.
///
/// # Errors
/// When it can't, and the configuration asks for it.
pub(crate) fn listen(
    communicator: &Communicator,
    control: Option<&Control>,
    operator: Operator,
) -> Result<(), String> {
    let Some(control) = control else { return Ok(()) };
    match start(communicator, control, operator) {
        Ok(()) => {
            log::info!("takes messages on {}", control.path.display());
            Ok(())
        }
        Err(error) if control.is_asked_for => Err(format!("<control>: {error}")),
        Err(error) => {
            log::warn!("takes no messages: {error}");
            Ok(())
        }
    }
}

fn start(communicator: &Communicator, control: &Control, operator: Operator) -> io::Result<()> {
    let mut dispatcher = Dispatcher::with_built_in();
    dispatcher.on("STATUS", Operator::status).map_err(io::Error::other)?;
    let service = Service::new(operator, dispatcher).shared();
    let bind = UnixBind::new(&control.path).mode(0o600);
    if !control.is_stream {
        let socket = bind.bind_datagrams()?.packet_max(LINE_MAX);
        let id = communicator.datagrams(socket, DatagramMessages::new().serve(service))?;
        communicator.set_name(id, &control.path.to_string_lossy());
        return Ok(());
    }
    let bound = bind.bind()?;
    let listener = communicator.listen(bound, move |client| {
        client.serve(Messages::with_max(LINE_MAX), Rc::clone(&service))?;
        Ok(())
    })?;
    communicator.set_name(listener, &control.path.to_string_lossy());
    communicator.set_most_clients(listener, CLIENTS_MAX);
    communicator.set_timeouts(listener, Timeouts { idle: Some(IDLE_MAX), ..Timeouts::default() });
    Ok(())
}

impl Operator {
    /// `STATUS`: answers `STATUS_REPORT`.
    fn status(&mut self, message: MessageRef<'_>, call: &mut Call<'_, Self>) -> HandlerResult {
        let mut report = Message::build("STATUS_REPORT");
        for (name, value) in self.server.status(call.communicator()) {
            report = report.with(name.as_str(), value.as_str());
        }
        call.answer(message, report)
    }
}

impl Hooks for Operator {
    fn log_rotate(&mut self, message: MessageRef<'_>, call: &mut Call<'_, Self>) -> HandlerResult {
        let answer = match &self.log {
            None => failed("the log is written to standard error: see --log-file"),
            Some(log) => match log.reopen() {
                Ok(()) => {
                    log::info!("LOG_ROTATE: the log was opened anew");
                    Message::build("LOG_ROTATED").with("file", &*log.path().to_string_lossy())
                }
                Err(error) => {
                    log::error!("LOG_ROTATE: {error}");
                    failed(&error.to_string())
                }
            },
        };
        call.answer(message, answer)
    }

    fn restart(&mut self, message: MessageRef<'_>, call: &mut Call<'_, Self>) -> HandlerResult {
        let answer = match self.reload.reload(call.communicator()) {
            Ok(needs_restart) => Message::build("RESTARTED").with("needs_restart", needs_restart.join(",")),
            Err(problems) => {
                let lines = problems.lines().map(|line| line.strip_prefix("clacksd: ").unwrap_or(line));
                let lines: Vec<_> = lines.collect();
                lines.iter().for_each(|line| log::error!("{line}"));
                log::error!("RESTART: everything stays as it is");
                failed(&lines.join("\n"))
            }
        };
        call.answer(message, answer)
    }

    fn stop(&mut self, _: bool, call: &mut Call<'_, Self>) -> HandlerResult {
        log::info!("STOP: ends in order");
        self.server.stop(call.communicator());
        Ok(())
    }
}

fn failed(why: &str) -> eventdispatcher::dispatcher::Builder {
    Message::build("FAILED").with("why", why)
}
