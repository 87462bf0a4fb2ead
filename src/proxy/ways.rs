//! The way out of one worker, as the settings in force have it.
//!
//! Connections that were made under other rules, roots, certificates or another next proxy serve what is on them to its
//! end and are never used again: a way out goes with the settings that it was made for.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::outgoing::Outgoing;
use crate::upstream::{Settings, Upstream};

/// The newest way out.
#[derive(Clone)]
pub(super) struct Ways(Arc<ArcSwap<Upstream<Outgoing>>>);

impl Ways {
    pub(super) fn new(settings: &Arc<Settings>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Upstream::new(Arc::clone(settings)))))
    }

    /// The way out under `settings`. Newer ones than the last replace it; who began under older ones gets a way of their
    /// own.
    pub(super) fn under(&self, settings: &Arc<Settings>) -> Guard<Arc<Upstream<Outgoing>>> {
        let newest = self.0.load();
        if newest.is_under(settings) {
            return newest;
        }
        let made = Arc::new(Upstream::new(Arc::clone(settings)));
        if newest.is_older_than(settings) {
            self.0.store(Arc::clone(&made));
        }
        Guard::from_inner(made)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use super::*;
    use crate::tls::Roots;
    use crate::upstream::{ClientTls, Measures, Rules};

    fn settings(generation: u64) -> Arc<Settings> {
        let second = Duration::from_secs(1);
        Arc::new(Settings {
            generation,
            rules: Rules::default(),
            resolve: HashMap::new(),
            next_proxy: None,
            own_ends: None,
            client_tls: ClientTls::new(Roots::none(), Vec::new(), Vec::new()).expect("made"),
            connect_timeout: second,
            head_timeout: second,
            body_stall: second,
            idle: second,
            max_idle_per_key: 1,
            max_idle: 1,
            measures: Measures::default(),
        })
    }

    #[test]
    fn newer_settings_replace_the_way_and_older_ones_do_not_bring_it_back() {
        let (one, two) = (settings(1), settings(2));
        let ways = Ways::new(&one);
        let first = ways.under(&one);
        assert!(Arc::ptr_eq(&first, &ways.under(&one)), "connections are kept");
        let second = ways.under(&two);
        assert!(second.is_under(&two) && Arc::ptr_eq(&second, &ways.under(&two)));
        let late = ways.under(&one);
        assert!(late.is_under(&one) && !Arc::ptr_eq(&late, &first));
        assert!(Arc::ptr_eq(&second, &ways.under(&two)), "who began before took nothing from anybody");
    }
}
