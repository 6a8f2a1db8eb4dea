//! The link to the master that the configuration names.

use eventdispatcher::Communicator;
use eventdispatcher::connections::clacks::configuration::{Configuration, Master};
use eventdispatcher::connections::clacks::{Server, Uplink};
use std::env;
#[cfg(feature = "tls")]
use std::path::Path;
use std::time::Duration;

/// What is added to the pause between two tries at most, as the reference server does.
const JITTER: Duration = Duration::from_secs(9);

/// For tests of servers whose clocks differ: seconds that are added to the time.
const TIME_OFFSET: &str = "CLACKS_SIMULATED_TIME_OFFSET";

/// Connects to the master, if there is one, and sets the clock of the protocol.
///
/// # Errors
/// When the link can't be prepared. That the master is not there is none: it is tried again and again.
pub(crate) fn link_to_master(
    communicator: &Communicator,
    server: &Server,
    configuration: &Configuration,
) -> Result<(), String> {
    if let Some(offset) = time_offset()? {
        log::warn!("{TIME_OFFSET}: the clock of this server is off by {offset} seconds");
        server.simulate_time_offset(offset);
    }
    let uplink = match &configuration.master {
        None => return Ok(()),
        Some(Master::Socket(path)) => Uplink::unix(path),
        #[cfg(feature = "tls")]
        Some(Master::Tls { host, port, ca }) => Uplink::tls(host.as_str(), *port, tls_client(ca.as_deref())?),
        #[cfg(not(feature = "tls"))]
        Some(Master::Tls { .. }) => {
            return Err("<ip> of <master> can't be used: this program was built without TLS".to_owned());
        }
    };
    let uplink = uplink.retry(configuration.interclacks_reconnect_timeout, JITTER);
    server.link_to_master(communicator, uplink);
    Ok(())
}

/// # Errors
/// When it is set, but is no number.
fn time_offset() -> Result<Option<f64>, String> {
    let Some(text) = env::var_os(TIME_OFFSET) else { return Ok(None) };
    let seconds = text.to_str().and_then(|text| text.parse::<f64>().ok());
    match seconds.filter(|seconds| seconds.is_finite()) {
        Some(seconds) => Ok(Some(seconds).filter(|seconds| *seconds != 0.0)),
        None => Err(format!("{TIME_OFFSET} is {text:?}: a number of seconds is wanted")),
    }
}

#[cfg(feature = "tls")]
fn tls_client(ca: Option<&Path>) -> Result<eventdispatcher::tls::TlsClient, String> {
    let client = eventdispatcher::tls::TlsClient::builder();
    let client = match ca {
        Some(ca) => client.roots_file(ca),
        None => client.dangerously_without_verification(),
    };
    client.build().map_err(|error| format!("<ca> of <master>: {error}"))
}
