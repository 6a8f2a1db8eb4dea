//! A configuration that can be exchanged while the program runs.

use super::config_error::TlsConfigError;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// How a configuration of kind `C` is made, and the one that new handshakes take.
pub(super) struct Current<B, C> {
    /// Held while a new one is made, so that two do not cross.
    builder: Mutex<B>,
    config: RwLock<Arc<C>>,
}

/// What makes a configuration of kind `C`. Reads its files again each time.
pub(super) trait Make<C>: Clone {
    fn make(&self) -> Result<C, TlsConfigError>;
}

impl<C, B: Make<C>> Current<B, C> {
    pub(super) fn new(builder: B) -> Result<Self, TlsConfigError> {
        let config = RwLock::new(Arc::new(builder.make()?));
        Ok(Self { builder: Mutex::new(builder), config })
    }

    pub(super) fn get(&self) -> Arc<C> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes it anew, by `other` from now on if that is given. After an error the old one stays.
    pub(super) fn renew(&self, other: Option<B>) -> Result<(), TlsConfigError> {
        let mut builder = self.builder.lock().unwrap_or_else(PoisonError::into_inner);
        let new = other.unwrap_or_else(|| builder.clone());
        match new.make() {
            Ok(config) => {
                *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                *builder = new;
                Ok(())
            }
            Err(error) => {
                log::warn!("the new TLS configuration is refused, the old one stays in use: {error}");
                Err(error)
            }
        }
    }
}

/// Says how it is made, and nothing of keys.
impl<B: fmt::Debug, C> fmt::Debug for Current<B, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.builder.lock().unwrap_or_else(PoisonError::into_inner).fmt(f)
    }
}
