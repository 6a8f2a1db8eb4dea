//! The wall clock is set, forward and back, while the server runs.

use std::time::Duration;

use eventdispatcher::connections::clacks::{Settings, Store};

use crate::world::World;

const YEAR: f64 = 31_536_000.0;
const MINUTE: Duration = Duration::from_secs(60);

fn clean(world: &mut World) {
    while world.state.clean(world.now, &mut world.out) {}
}

#[test]
fn a_clock_that_is_set_ends_nobody_and_makes_nothing_old() {
    for jump in [YEAR, -YEAR, 3700.0, -3700.0, 1e12, -1.795e9] {
        let settings = Settings {
            stale_cache_time: MINUTE * 30,
            deleted_cache_time: MINUTE * 20,
            ..Settings::default()
        };
        let mut world = World::new(settings, Store::default());
        world.state.set_started(world.now);
        world.log_in("old", "admin");
        world.log_in("linked", "admin");
        world.link("linked");
        world.run("old> NOPING\nold> STORE k=v\nlinked< STORE k=v\nold> STORE r=v\nlinked< STORE r=v\nold> REMOVE r\nlinked< REMOVE r\n");
        world.connect("stranger");
        world.take("stranger");
        let before = world.now.monotonic;
        for _ in 0..3 {
            world.pass(Duration::from_secs(4));
            world.now.unix += jump / 3.0;
            clean(&mut world);
        }
        world.log_in("new", "rw");
        world.send("new", b"RETRIEVE k");
        world.send("new", b"PING");
        world.send("linked", b"PING");
        assert_eq!(world.take("new"), ["RETRIEVED k=v"], "jump {jump}");
        for name in ["old", "linked", "stranger"] {
            assert_eq!(world.take(name), [""; 0], "jump {jump}: {name} is told");
            assert!(!world.queue(name).is_closed, "jump {jump}: {name} is closed");
        }
        assert_eq!((world.state.store().live(), world.state.store().tombstones()), (1, 1), "jump {jump}");

        // Time limits are where they were: by the clock that does not jump.
        world.pass(Duration::from_secs(15) - (world.now.monotonic - before));
        assert!(world.queue("stranger").is_closed, "jump {jump}: it had its 15 seconds");

        // What is old in the end is forgotten, unless it seems to be of the future; that, a new value ends.
        if jump > 0.0 {
            world.pass(MINUTE * 31);
            clean(&mut world);
            let left = (world.state.store().live(), world.state.store().tombstones());
            assert_eq!(left, (0, 0), "jump {jump}");
        } else {
            world.log_in("late", "rw");
            world.send("late", b"SETANDSTORE k=w");
            world.pass(MINUTE * 31);
            clean(&mut world);
            assert_eq!(world.state.store().live(), 0, "jump {jump}");
        }
    }
}
