//! Logs: one line per event on standard error, as JSON or text, with a filter that can be changed while
//! running.

use tracing_subscriber::{
    EnvFilter, Registry,
    fmt::{self, format::FmtSpan},
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

/// Longest log filter that is accepted: a filter is a line that a person types.
pub const FILTER_BYTES: usize = 1024;

/// Filters that always apply unless the given one names the same target. The client library logs each 5xx
/// answer as an error; those are handled, and reported where they matter.
const QUIET: &str = "kube_client::client::builder=off,hyper=warn,tower=warn,h2=warn,rustls=warn";

/// Shape of the log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line.
    #[default]
    Json,
    /// For people.
    Text,
}

/// Flags about logs.
#[derive(Clone, Debug, clap::Args)]
pub struct TelemetryArgs {
    /// Shape of the log lines.
    #[arg(long, value_enum, env = "LOG_FORMAT", default_value = "json")]
    pub log_format: LogFormat,
    /// What to log: a level (error, warn, info, debug, trace), or target=level pairs with commas between.
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_name = "FILTER")]
    pub log_level: String,
    /// Log at level debug.
    #[arg(short = 'd', long)]
    pub debug: bool,
}

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error("{filter:?} is not a log filter; write a level such as info, or target=level pairs with commas")]
    Filter {
        /// As given.
        filter: String,
        /// What is wrong.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The filter is longer than [`FILTER_BYTES`].
    #[error("the log filter is longer than {FILTER_BYTES} bytes")]
    FilterTooLong,
    /// Something else in this process has set up logs already.
    #[error("logs are set up already in this process")]
    Twice,
    /// The subscriber is gone.
    #[error("logs are not set up any more")]
    Gone,
}

/// Changes the filter while running.
#[derive(Clone, Debug)]
pub struct LogFilter {
    handle: reload::Handle<EnvFilter, Registry>,
}

impl LogFilter {
    /// Uses this filter from now on.
    pub fn set(&self, filter: &str) -> Result<(), TelemetryError> {
        let parsed = parse(filter)?;
        self.handle.reload(parsed).map_err(|_| TelemetryError::Gone)?;
        tracing::info!(filter, "log filter changed");
        Ok(())
    }

    /// The filter in force.
    pub fn get(&self) -> Result<String, TelemetryError> {
        self.handle
            .with_current(ToString::to_string)
            .map_err(|_| TelemetryError::Gone)
    }
}

#[cfg(test)]
impl LogFilter {
    /// A filter of nothing: it lives as long as the layer.
    pub(crate) fn detached(filter: &str) -> (Self, reload::Layer<EnvFilter, Registry>) {
        let (layer, handle) = reload::Layer::new(parse(filter).unwrap());
        (Self { handle }, layer)
    }
}

/// Sets up logs for this process. Once.
pub fn init(args: &TelemetryArgs) -> Result<LogFilter, TelemetryError> {
    let filter = parse(if args.debug { "debug" } else { &args.log_level })?;
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    let set = match args.log_format {
        LogFormat::Json => registry
            .with(
                fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_current_span(false)
                    .with_span_list(true)
                    .with_span_events(FmtSpan::NONE)
                    .with_writer(std::io::stderr),
            )
            .try_init(),
        LogFormat::Text => registry
            .with(fmt::layer().with_writer(std::io::stderr))
            .try_init(),
    };
    set.map_err(|_| TelemetryError::Twice)?;
    Ok(LogFilter { handle })
}

fn parse(filter: &str) -> Result<EnvFilter, TelemetryError> {
    let filter = filter.trim();
    if filter.len() > FILTER_BYTES {
        return Err(TelemetryError::FilterTooLong);
    }
    // Later directives for the same target win, so the given ones come last.
    EnvFilter::try_new(format!("{QUIET},{filter}")).map_err(|source| TelemetryError::Filter {
        filter: filter.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_filters() {
        for good in ["info", "debug,kube_client=trace", " warn "] {
            parse(good).unwrap();
        }
        let error = parse("kube=loud").unwrap_err();
        assert!(error.to_string().contains("\"kube=loud\" is not a log filter"));
        assert!(matches!(
            parse(&"a".repeat(FILTER_BYTES + 1)),
            Err(TelemetryError::FilterTooLong)
        ));
    }

    #[test]
    fn is_gone_with_its_subscriber() {
        let (filter, layer) = LogFilter::detached("info");
        filter.set("warn").unwrap();
        assert!(filter.get().unwrap().contains("warn"));
        drop(layer);
        assert!(matches!(filter.set("info"), Err(TelemetryError::Gone)));
    }

    #[test]
    fn the_given_filter_wins() {
        let shown = parse("info,hyper=trace").unwrap().to_string();
        assert!(
            shown.contains("hyper=trace") && !shown.contains("hyper=warn"),
            "{shown}"
        );
        assert!(shown.contains("builder=off"), "{shown}");
    }
}
