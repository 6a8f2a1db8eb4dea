//! Reading the configuration again while the server runs.

use crate::arguments::Arguments;
use crate::plan::Plan;
use eventdispatcher::Communicator;
use eventdispatcher::connections::clacks::Server;
use eventdispatcher::connections::clacks::configuration::Configuration;
use eventdispatcher::tls::TlsServer;
use std::rc::Rc;

/// Brings what the files say now to the server that runs. A cheap handle: clones are the same.
#[derive(Clone)]
pub(crate) struct Reload(Rc<Running>);

/// What runs, and what it was made of.
struct Running {
    server: Server,
    tls: Option<TlsServer>,
    arguments: Arguments,
    /// What it was started with.
    configuration: Configuration,
}

impl Reload {
    pub(crate) fn new(
        server: &Server,
        tls: Option<TlsServer>,
        arguments: &Arguments,
        configuration: &Configuration,
    ) -> Self {
        Self(Rc::new(Running {
            server: server.clone(),
            tls,
            arguments: arguments.clone(),
            configuration: configuration.clone(),
        }))
    }

    /// Reads users, limits, time limits and certificates again. What can't change while the server runs stays as it is: those
    /// settings are named. Everything else that is to be known is in the log.
    ///
    /// # Errors
    /// All that is wrong with the files, a line each. Nothing has changed then.
    pub(crate) fn reload(&self, communicator: &Communicator) -> Result<Vec<&'static str>, String> {
        let Running { server, tls, arguments, configuration } = &*self.0;
        let plan = Plan::of(arguments)?;
        for warning in plan.warnings.lines() {
            log::warn!("{}", warning.strip_prefix("clacksd: ").unwrap_or(warning));
        }
        let new = plan.configuration;
        if let (Some(tls), Some(files)) = (tls, &new.tls) {
            let files = TlsServer::builder().certificate_files(&files.certificate, &files.key);
            tls.replace(files).map_err(|error| error.to_string())?;
        }
        let sent_away =
            server.reconfigure(communicator, new.settings(), new.limits(), new.users_and_permissions());
        log::info!("{}: read again, {sent_away} clients may not stay", plan.source);
        let needs_restart = configuration.needs_restart(&new);
        for name in &needs_restart {
            log::warn!("<{name}> has changed, which takes a restart to have an effect");
        }
        Ok(needs_restart)
    }
}
