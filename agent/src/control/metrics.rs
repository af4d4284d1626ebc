//! What has passed the front door, in the text format that Prometheus reads.
//!
//! The counters are those that the front door writes; they are looked at when somebody asks. Labels are the apps' names
//! and a few fixed words, so that nobody from outside can make up a series.

use crate::model::traffic::{BOUNDS, Connections, Meters, Sample};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Where the counters are.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    pub meters: Arc<Meters>,
    pub connections: Arc<Connections>,
}

/// A counter's help, its name, and its values by a second label.
type Family = (&'static str, &'static str, &'static str, fn(&Sample) -> Vec<(&'static str, u64)>);

const COUNTERS: [Family; 5] = [
    (
        "space_agent_requests",
        "Requests to apps; work: a person or a client caused it, quiet: a page by itself",
        "class",
        |sample| vec![("work", sample.requests_work), ("quiet", sample.requests_quiet)],
    ),
    ("space_agent_websocket_messages", "Messages of clients over WebSockets", "class", |sample| {
        vec![("work", sample.messages_work), ("quiet", sample.messages_quiet)]
    }),
    ("space_agent_answers", "Answers of apps by the hundreds of their status", "status", |sample| {
        ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(sample.statuses).collect()
    }),
    ("space_agent_bytes", "Bytes of bodies and WebSockets", "way", |sample| {
        vec![("to_app", sample.bytes_to_app), ("to_client", sample.bytes_to_client)]
    }),
    ("space_agent_websockets", "WebSockets that were ever open", "state", |sample| {
        vec![("opened", sample.tunnels_ever)]
    }),
];

pub(super) fn text(counters: &Counters) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(counters.clone()));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Counters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let samples = self.meters.samples();
        for family in COUNTERS {
            counter(&mut encoder, &samples, family)?;
        }
        latencies(&mut encoder, &samples)?;
        open_websockets(&mut encoder, &samples)?;
        ends(&mut encoder, &samples)?;
        connections(&mut encoder, &self.connections)
    }
}

/// Every app's counters, by its name.
type Samples = [(String, Sample)];

fn counter(encoder: &mut DescriptorEncoder<'_>, samples: &Samples, family: Family) -> fmt::Result {
    let (name, help, label, values) = family;
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (app, sample) in samples {
        for (word, value) in values(sample) {
            let labels = [("app", app.as_str()), (label, word)];
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
    }
    Ok(())
}

fn latencies(encoder: &mut DescriptorEncoder<'_>, samples: &Samples) -> fmt::Result {
    let help = "From a request's way to the app to the beginning of its answer";
    let mut family = encoder.encode_descriptor("space_agent_latency_seconds", help, None, MetricType::Histogram)?;
    for (app, sample) in samples {
        histogram(family.encode_family(&[("app", app.as_str())])?, sample)?;
    }
    Ok(())
}

fn open_websockets(encoder: &mut DescriptorEncoder<'_>, samples: &Samples) -> fmt::Result {
    let mut family =
        encoder.encode_descriptor("space_agent_websockets_open", "WebSockets now", None, MetricType::Gauge)?;
    for (app, sample) in samples {
        family.encode_family(&[("app", app.as_str())])?.encode_gauge(&clamped(sample.tunnels))?;
    }
    Ok(())
}

fn ends(encoder: &mut DescriptorEncoder<'_>, samples: &Samples) -> fmt::Result {
    let help = "WebSockets that have ended, by the side that ended them and its close code (RFC 6455, 7.4)";
    let mut family = encoder.encode_descriptor("space_agent_websocket_ends", help, None, MetricType::Counter)?;
    for (app, sample) in samples {
        for (side, code, count) in sample.ends.counts() {
            let labels = [("app", app.as_str()), ("side", side.name()), ("code", code)];
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
    }
    Ok(())
}

fn connections(encoder: &mut DescriptorEncoder<'_>, connections: &Connections) -> fmt::Result {
    let (open, ever) = connections.sample();
    let help = "Connections of clients to the front door now";
    encoder
        .encode_descriptor("space_agent_connections_open", help, None, MetricType::Gauge)?
        .encode_gauge(&clamped(open))?;
    let help = "Connections of clients to the front door";
    let mut family = encoder.encode_descriptor("space_agent_connections", help, None, MetricType::Counter)?;
    family.encode_counter::<NoLabelSet, _, u64>(&ever, None)
}

fn histogram(mut encoder: MetricEncoder<'_>, sample: &Sample) -> fmt::Result {
    let bounds = BOUNDS.iter().map(|micros| seconds(*micros)).chain([f64::INFINITY]);
    let buckets: Vec<_> = bounds.zip(sample.latencies).collect();
    encoder.encode_histogram::<NoLabelSet>(seconds(sample.latency_us), sample.latencies.iter().sum(), &buckets, None)
}

#[expect(clippy::cast_precision_loss, reason = "a sum of seconds")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn clamped(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::traffic::{Class, Close, PORTS, Side, Way};
    use std::time::Duration;

    #[test]
    fn the_counters_of_each_app_are_told_as_prometheus_reads_them() {
        let counters = Counters::default();
        let (lab, ports) = (counters.meters.of("lab"), counters.meters.of(PORTS));
        lab.request(Class::Work);
        lab.request(Class::Quiet);
        lab.request(Class::Quiet);
        lab.message(Class::Work);
        lab.answered(204, Duration::from_millis(3));
        lab.answered(502, Duration::from_secs(60));
        lab.passed(Way::ToClient, 1000);
        lab.tunnel_opened();
        lab.tunnel_opened();
        lab.tunnel_closed(Close { by: Side::Agent, code: 1001 });
        ports.request(Class::Quiet);
        let first = counters.connections.opened();
        counters.connections.opened();
        drop(first);
        let text = text(&counters).unwrap();
        for line in [
            "# TYPE space_agent_requests counter",
            "space_agent_requests_total{app=\"lab\",class=\"work\"} 1",
            "space_agent_requests_total{app=\"lab\",class=\"quiet\"} 2",
            "space_agent_requests_total{app=\"proxy/\",class=\"quiet\"} 1",
            "space_agent_websocket_messages_total{app=\"lab\",class=\"work\"} 1",
            "space_agent_answers_total{app=\"lab\",status=\"2xx\"} 1",
            "space_agent_answers_total{app=\"lab\",status=\"5xx\"} 1",
            "space_agent_bytes_total{app=\"lab\",way=\"to_client\"} 1000",
            "space_agent_websockets_total{app=\"lab\",state=\"opened\"} 2",
            "space_agent_websocket_ends_total{app=\"lab\",side=\"agent\",code=\"1001\"} 1",
            "space_agent_websockets_open{app=\"lab\"} 1",
            "# TYPE space_agent_latency_seconds histogram",
            "space_agent_latency_seconds_bucket{le=\"0.005\",app=\"lab\"} 1",
            "space_agent_latency_seconds_bucket{le=\"10.0\",app=\"lab\"} 1",
            "space_agent_latency_seconds_bucket{le=\"+Inf\",app=\"lab\"} 2",
            "space_agent_latency_seconds_count{app=\"lab\"} 2",
            "space_agent_latency_seconds_sum{app=\"lab\"} 60.003",
            "space_agent_connections_open 0",
            "space_agent_connections_total 2",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
