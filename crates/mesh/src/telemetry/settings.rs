//! What a process tells about itself, as configured.

use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use crate::config;

/// The defaults, which document the settings.
pub const DEFAULTS: &str = include_str!("config.default.toml");

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people, on standard error.
    Text,
    /// One JSON object a line, on standard output.
    Json,
}

/// Section `telemetry`, with the standard variables (`RUST_LOG`, `OTEL_…`) taken in.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What is logged, in the syntax of `RUST_LOG`; the program's own choice when absent.
    pub log: Option<String>,
    /// How it is logged; the program's own choice when absent.
    pub log_format: Option<LogFormat>,
    /// The OTLP collector; without one nothing is traced.
    pub otlp_endpoint: Option<String>,
    /// The part of the traces that begin here which is recorded, from 0 to 1.
    pub sample_ratio: f64,
    /// What `OTEL_SERVICE_NAME` calls this process, whatever it serves.
    pub service_name: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            log: None,
            log_format: None,
            otlp_endpoint: None,
            sample_ratio: 1.0,
            service_name: None,
        }
    }
}

#[derive(Deserialize)]
struct File {
    telemetry: Section,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    log: String,
    log_format: String,
    otlp_endpoint: String,
    sample_ratio: Option<f64>,
}

impl Settings {
    /// Reads the settings: the defaults, then `file`, then the environment.
    ///
    /// # Errors
    /// Names what is unknown or wrong.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> anyhow::Result<Self> {
        let environment: Vec<(String, String)> = environment.into_iter().collect();
        let File { telemetry: section } =
            config::load(DEFAULTS, file, environment.iter().cloned()).context("telemetry")?;
        let standard = |name: &str| {
            let found = environment.iter().find(|(key, _)| key == name);
            found
                .map(|(_, value)| value.trim())
                .filter(|v| !v.is_empty())
        };
        let log_format = match section.log_format.as_str() {
            "" => None,
            "json" => Some(LogFormat::Json),
            "text" => Some(LogFormat::Text),
            other => anyhow::bail!("telemetry.log_format is \"json\" or \"text\", not {other:?}"),
        };
        let configured = |text: String| Some(text).filter(|text| !text.is_empty());
        let off = standard("OTEL_SDK_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true"));
        let otlp_endpoint = configured(section.otlp_endpoint)
            .or_else(|| {
                let specific = standard("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
                let general = || standard("OTEL_EXPORTER_OTLP_ENDPOINT");
                specific.or_else(general).map(str::to_owned)
            })
            .filter(|_| !off);
        let sample_ratio = match section.sample_ratio {
            Some(ratio) => ratio,
            None => standard_ratio(
                standard("OTEL_TRACES_SAMPLER"),
                standard("OTEL_TRACES_SAMPLER_ARG"),
            )?,
        };
        anyhow::ensure!(
            (0.0..=1.0).contains(&sample_ratio),
            "telemetry.sample_ratio is between 0 and 1, not {sample_ratio}"
        );
        Ok(Self {
            log: standard("RUST_LOG")
                .map(str::to_owned)
                .or_else(|| configured(section.log)),
            log_format,
            otlp_endpoint,
            sample_ratio,
            service_name: standard("OTEL_SERVICE_NAME").map(str::to_owned),
        })
    }
}

/// OpenTelemetry's own words for the same decision.
fn standard_ratio(sampler: Option<&str>, argument: Option<&str>) -> anyhow::Result<f64> {
    match sampler {
        None | Some("always_on" | "parentbased_always_on") => Ok(1.0),
        Some("always_off" | "parentbased_always_off") => Ok(0.0),
        Some("traceidratio" | "parentbased_traceidratio") => argument
            .map_or(Ok(1.0), str::parse)
            .context("OTEL_TRACES_SAMPLER_ARG is a number from 0 to 1"),
        Some(other) => anyhow::bail!("OTEL_TRACES_SAMPLER: {other:?} is not supported"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(environment: &[(&str, &str)]) -> anyhow::Result<Settings> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Settings::load(None, environment.iter().map(owned))
    }

    #[test]
    fn nothing_is_traced_unless_asked_for() {
        assert_eq!(settings(&[]).unwrap(), Settings::default());
    }

    #[test]
    fn own_names_come_before_the_standard_ones() {
        let standard = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_SERVICE_NAME", "crm"),
            ("RUST_LOG", "debug"),
        ];
        let read = settings(&standard).unwrap();
        assert_eq!(read.otlp_endpoint.as_deref(), Some("http://a:4317"));
        assert!((read.sample_ratio - 0.25).abs() < 1e-9);
        assert_eq!(read.service_name.as_deref(), Some("crm"));
        assert_eq!(read.log.as_deref(), Some("debug"));

        let own = [
            ("OBJECTMESH__TELEMETRY__OTLP_ENDPOINT", "http://b:4317"),
            ("OBJECTMESH__TELEMETRY__SAMPLE_RATIO", "0.5"),
        ];
        let read = settings(&[&standard[..], &own[..]].concat()).unwrap();
        assert_eq!(read.otlp_endpoint.as_deref(), Some("http://b:4317"));
        assert!((read.sample_ratio - 0.5).abs() < 1e-9);
    }

    #[test]
    fn what_is_wrong_is_refused_by_name() {
        for (name, value, told) in [
            ("OBJECTMESH__TELEMETRY__SAMPLE_RATIO", "2", "sample_ratio"),
            ("OBJECTMESH__TELEMETRY__LOG_FORMAT", "xml", "log_format"),
            ("OBJECTMESH__TELEMETRY__ENDPOINT", "http://a", "endpoint"),
            (
                "OTEL_TRACES_SAMPLER",
                "jaeger_remote",
                "OTEL_TRACES_SAMPLER",
            ),
        ] {
            let error = format!("{:#}", settings(&[(name, value)]).unwrap_err());
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn the_sdk_can_be_switched_off() {
        let read = settings(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317"),
            ("OTEL_SDK_DISABLED", "true"),
        ]);
        assert_eq!(read.unwrap().otlp_endpoint, None);
    }
}
