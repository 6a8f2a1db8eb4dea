//! What the parameters of each command have to be.

mod definition;
mod draft;
mod error;
mod file_form;
mod ini;
mod problem;
mod rule;
mod set;

pub use definition::{Definition, UnknownKey};
pub use error::{DefinitionError, Fault};
pub use problem::{Problem, ProblemFault};
pub use rule::{Kind, Presence, Rule};
pub use set::{DEFAULT_PATH, Definitions, built_in_files};
