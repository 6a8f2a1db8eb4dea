mod files;
mod problems;
mod random;
mod reading;
mod table;

use super::settings::{Kind, SETTINGS, Setting};
use super::{Configuration, Loaded, Problems, Surroundings};
use crate::connections::clacks::credentials::Password;

/// What every configuration needs.
const BASE: &str = "<username>admin</username><password>top-secret</password><socket>base.sock</socket>";

fn surroundings(hostname: &str, variables: &[(&str, &str)]) -> Surroundings {
    let environment = variables.iter().map(|&(name, value)| (name.into(), value.into())).collect();
    Surroundings { hostname: hostname.into(), environment }
}

fn parse(text: &str) -> Result<Loaded, Problems> {
    Configuration::parse(text.as_bytes(), "c.xml", &surroundings("here", &[]))
}

/// All problems of `text`, a line each.
fn problems_with(text: &[u8], variables: &[(&str, &str)]) -> String {
    match Configuration::parse(text, "c.xml", &surroundings("here", variables)) {
        Ok(loaded) => {
            assert!(!loaded.problems().has_errors(), "an error, and yet a configuration");
            loaded.problems().to_string()
        }
        Err(problems) => {
            assert!(problems.has_errors(), "no error, and yet no configuration");
            problems.to_string()
        }
    }
}

fn base() -> Configuration {
    let mut base = Configuration::new("admin", Password::new("top-secret"));
    base.sockets.push("base.sock".into());
    base
}

/// Each setting with its path (`ssl/cert`).
fn all_settings() -> Vec<(String, &'static Setting)> {
    fn add(prefix: &str, settings: &'static [Setting], all: &mut Vec<(String, &'static Setting)>) {
        for setting in settings {
            let path = format!("{prefix}{}", setting.name);
            all.push((path.clone(), setting));
            if let Kind::Group(inner) = setting.kind {
                add(&format!("{path}/"), inner, all);
            }
        }
    }
    let mut all = Vec::new();
    add("", SETTINGS, &mut all);
    all
}
