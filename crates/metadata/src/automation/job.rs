//! Jobs: work on a schedule (docs/reference/automation.md, "Webhooks and jobs").

use serde_json::Value;

use super::body::Body;
use super::retry::Backoff;
use crate::diagnostics::Diagnostic;
use crate::expression::{Dialect, Expression};
use crate::reader::{Reader, Sink};

/// Work that is done again and again, or once at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// Name for people.
    pub label: Option<String>,
    /// When it runs.
    pub schedule: Option<Schedule>,
    /// What it runs.
    pub target: Option<JobTarget>,
    /// Whether it runs at all; true unless written.
    pub is_enabled: bool,
    /// How often a failed one is tried again.
    pub retry: Option<Backoff>,
    /// The longest it may take, in milliseconds.
    pub timeout_ms: Option<u64>,
}

/// What a job runs.
#[derive(Debug, Clone, PartialEq)]
pub enum JobTarget {
    /// The flow of that name.
    Flow(String),
    /// The action of that name.
    Action(String),
    /// What goes by that name: a flow, or nothing.
    Handler(String),
    /// A script.
    Body(Body),
}

/// When something runs by itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Schedule {
    /// Five fields of cron, in that time zone; UTC without one. Missed moments are not made up for.
    Cron {
        /// The fields.
        cron: Expression,
        /// An IANA name.
        timezone: Option<String>,
    },
    /// Every so many milliseconds.
    Interval {
        /// From one start to the next.
        every_ms: u64,
    },
    /// Once, at that moment (ISO 8601).
    Once {
        /// The moment.
        at: String,
    },
}

impl Schedule {
    /// Reads `schedule` (an object, or the fields of cron themselves), or a bare `cron`.
    pub(crate) fn read(reader: &Reader<'_>) -> Option<Self> {
        let nested = match reader.raw(&["schedule"]) {
            Some(Value::Object(map)) if !map.contains_key("source") => reader.object(&["schedule"]),
            _ => None,
        };
        let Some(nested) = nested else {
            return Some(Schedule::Cron {
                cron: reader.expression(&["schedule", "cron", "cronExpression"], Dialect::Cron)?,
                timezone: reader.string(&["timezone"]),
            });
        };
        if let Some(cron) =
            nested.expression(&["cron", "expression", "cronExpression"], Dialect::Cron)
        {
            let timezone = nested.string(&["timezone"]);
            return Some(Schedule::Cron {
                cron,
                timezone: timezone.or_else(|| reader.string(&["timezone"])),
            });
        }
        let minutes = nested.natural(&["intervalMinutes"]);
        let every_ms = nested
            .natural(&["intervalMs", "interval", "everyMs"])
            .or_else(|| minutes.map(|minutes| minutes.saturating_mul(60_000)));
        if let Some(every_ms) = every_ms {
            return Some(Schedule::Interval { every_ms });
        }
        let at = nested.string(&["at", "runAt", "date"])?;
        Some(Schedule::Once { at })
    }
}

impl Job {
    /// Reads one, with what could not be read of it.
    pub fn from_value(name: &str, value: &Value) -> (Option<Self>, Vec<Diagnostic>) {
        let sink = Sink::default();
        let reader = Reader::new(value, format!("jobs.{name}"), &sink);
        let job = reader.map(|reader| Self::read(name, &reader));
        (job, sink.into_diagnostics())
    }

    pub(crate) fn read(name: &str, reader: &Reader<'_>) -> Self {
        Self {
            name: name.to_owned(),
            label: reader.string(&["label"]),
            schedule: Schedule::read(reader),
            target: target(reader),
            is_enabled: reader.flag(&["enabled", "active"]).unwrap_or(true),
            retry: reader
                .object(&["retryPolicy"])
                .map(|retry| Backoff::read(&retry, 0)),
            timeout_ms: reader.natural(&["timeout", "timeoutMs"]),
        }
    }
}

fn target(reader: &Reader<'_>) -> Option<JobTarget> {
    let named = |keys: &[&str]| {
        let name = match reader.raw(keys)? {
            Value::Object(_) => reader.object(keys)?.string(&["name"]),
            _ => reader.string(keys),
        };
        name.filter(|name| !name.is_empty())
    };
    named(&["flow", "flowName"])
        .map(JobTarget::Flow)
        .or_else(|| named(&["action"]).map(JobTarget::Action))
        .or_else(|| Body::read(reader, &["body"]).map(JobTarget::Body))
        .or_else(|| named(&["handler", "target"]).map(JobTarget::Handler))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn schedules_in_their_forms() {
        let of = |value: Value| Job::from_value("j", &value).0.unwrap().schedule;
        let cron = |value: Value| match of(value) {
            Some(Schedule::Cron { cron, timezone }) => (cron.source, timezone),
            other => panic!("{other:?}"),
        };
        let zone = Some("Europe/Berlin".to_owned());
        let nested = json!({"schedule": {"type": "cron", "expression": "0 8 * * *", "timezone": "Europe/Berlin"}});
        assert_eq!(cron(nested), ("0 8 * * *".to_owned(), zone));
        assert_eq!(cron(json!({"schedule": "0 8 * * *"})).0, "0 8 * * *");
        assert_eq!(cron(json!({"cron": "0 9 * * *"})).0, "0 9 * * *");
        let interval = json!({"schedule": {"type": "interval", "intervalMs": 5000}});
        assert_eq!(of(interval), Some(Schedule::Interval { every_ms: 5000 }));
        let once = json!({"schedule": {"type": "once", "at": "2026-12-31T12:00:00Z"}});
        assert!(matches!(of(once), Some(Schedule::Once { .. })));
        assert_eq!(of(json!({})), None);
    }

    #[test]
    fn a_job_says_what_it_runs() {
        let of = |value: Value| Job::from_value("j", &value).0.unwrap().target;
        assert_eq!(
            of(json!({"handler": "tidy"})),
            Some(JobTarget::Handler("tidy".to_owned()))
        );
        assert_eq!(
            of(json!({"flowName": "tidy"})),
            Some(JobTarget::Flow("tidy".to_owned()))
        );
        assert!(matches!(
            of(json!({"body": "return 1"})),
            Some(JobTarget::Body(_))
        ));
        assert_eq!(of(json!({"handler": ""})), None);
    }
}
