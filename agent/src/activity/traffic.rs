//! The source that every app has: what has passed the front door to it. A request or a message that only a person or a
//! client causes is work; what a page asks for by itself is not, nor is a WebSocket that is merely open.
//!
//! The counters are looked at by the hall whenever it is about to decide something, so that no stop rests on old
//! evidence; that is two loads for each app.

use crate::model::traffic::Meters;
use std::collections::BTreeMap;

/// What was counted until the last look.
#[derive(Debug, Default)]
pub struct Traffic(BTreeMap<String, u64>);

impl Traffic {
    /// The apps in which somebody has worked since the last look. The counters begin with the agent.
    pub fn worked(&mut self, meters: &Meters) -> Vec<String> {
        let mut worked = Vec::new();
        meters.each_work(|app, work| {
            if work > self.0.get(app).copied().unwrap_or(0) {
                self.0.insert(app.to_owned(), work);
                worked.push(app.to_owned());
            }
        });
        worked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::traffic::Class;

    #[test]
    fn only_work_is_activity_and_each_work_is_seen_once() {
        let (meters, mut traffic) = (Meters::default(), Traffic::default());
        let (lab, dashboard) = (meters.of("lab"), meters.of("dashboard"));
        assert_eq!(traffic.worked(&meters), Vec::<String>::new());
        lab.request(Class::Quiet);
        lab.message(Class::Quiet);
        lab.tunnel_opened();
        assert_eq!(traffic.worked(&meters), Vec::<String>::new(), "a page that is open");
        lab.request(Class::Work);
        dashboard.message(Class::Work);
        assert_eq!(traffic.worked(&meters), ["dashboard", "lab"]);
        assert_eq!(traffic.worked(&meters), Vec::<String>::new());
        lab.message(Class::Work);
        assert_eq!(traffic.worked(&meters), ["lab"]);
    }
}
