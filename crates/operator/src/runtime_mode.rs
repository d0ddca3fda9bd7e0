//! `--package-runtime`: who runs the controllers of packages (behaviour 7.3, 8.A4).

use std::fmt;

use api::pkg::PackageKind;

/// How the controllers of one kind of package run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RuntimeMode {
    /// Gantry runs them as Deployments.
    Deployment,
    /// Somebody else runs them and writes the runtime's conditions.
    External,
    /// Nobody runs them: the kind counts as one without a runtime (Gantry's own value, design §7).
    #[default]
    None,
}

impl RuntimeMode {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "Deployment" => Some(Self::Deployment),
            "External" => Some(Self::External),
            "None" => Some(Self::None),
            _ => None,
        }
    }
}

/// The mode of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PackageRuntime {
    provider: RuntimeMode,
    function: RuntimeMode,
    configuration: RuntimeMode,
}

/// Why a value of the flag is refused. The texts are the reference's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackageRuntimeError {
    /// Not `kind=runtime`.
    #[error("invalid package runtime setting {0:?}, expected: runtime=kind")]
    Setting(String),
    /// A kind that isn't one.
    #[error("unknown package runtime kind {0:?}, supported: [Configuration, Provider, Function]")]
    Kind(String),
    /// A runtime that isn't one.
    #[error("unknown package runtime {0:?}, supported: [Deployment, External, None]")]
    Runtime(String),
}

impl PackageRuntime {
    /// The mode of one kind.
    #[must_use]
    pub fn of(&self, kind: PackageKind) -> RuntimeMode {
        match kind {
            PackageKind::Provider => self.provider,
            PackageKind::Function => self.function,
            PackageKind::Configuration => RuntimeMode::None,
        }
    }

    /// Reads `Deployment`, `External` or `None` for all kinds, or `Kind=Runtime;Kind=Runtime`. The last of several
    /// settings of one kind wins. An empty value is the default.
    ///
    /// # Errors
    /// Names the first setting that can't be read.
    pub fn parse(text: &str) -> Result<Self, PackageRuntimeError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        if let Some(all) = RuntimeMode::parse(text.trim()) {
            return Ok(Self {
                provider: all,
                function: all,
                configuration: all,
            });
        }
        Self::parse_map(text)
    }

    /// The map form alone; it refuses an empty text, as the reference's parser does.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_map(text: &str) -> Result<Self, PackageRuntimeError> {
        let mut modes = Self::default();
        for setting in text.split(';') {
            let mut parts = setting.split('=');
            let (Some(kind), Some(runtime), None) = (parts.next(), parts.next(), parts.next()) else {
                return Err(PackageRuntimeError::Setting(setting.to_owned()));
            };
            let (kind, runtime) = (kind.trim(), runtime.trim());
            let kind =
                PackageKind::from_kind(kind).ok_or_else(|| PackageRuntimeError::Kind(kind.to_owned()))?;
            let mode = RuntimeMode::parse(runtime)
                .ok_or_else(|| PackageRuntimeError::Runtime(runtime.to_owned()))?;
            match kind {
                PackageKind::Provider => modes.provider = mode,
                PackageKind::Function => modes.function = mode,
                PackageKind::Configuration => modes.configuration = mode,
            }
        }
        Ok(modes)
    }

    /// Whether Gantry itself runs a kind.
    #[must_use]
    pub fn runs_any(&self) -> bool {
        [self.provider, self.function].contains(&RuntimeMode::Deployment)
    }
}

impl fmt::Display for PackageRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Provider={:?};Function={:?}", self.provider, self.function)
    }
}

impl std::str::FromStr for PackageRuntime {
    type Err = PackageRuntimeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RuntimeMode::{Deployment, External};

    /// Scenarios 8.A4 of the reference.
    #[test]
    fn settings_parse_as_in_the_reference() {
        let ok = |text: &str| PackageRuntime::parse_map(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let err = |text: &str| PackageRuntime::parse_map(text).unwrap_err().to_string();
        assert_eq!(
            err(""),
            r#"invalid package runtime setting "", expected: runtime=kind"#
        );
        assert_eq!(ok("Provider=Deployment").provider, Deployment);
        let both = ok("Provider=Deployment;Function=External");
        assert_eq!((both.provider, both.function), (Deployment, External));
        assert_eq!(
            ok("Provider=Deployment;Function=External;Configuration=Deployment").configuration,
            Deployment
        );
        for text in ["Provider", "ProviderDeployment", "Provider=Deployment=Extra"] {
            assert_eq!(
                err(text),
                format!("invalid package runtime setting {text:?}, expected: runtime=kind")
            );
        }
        let kinds = "supported: [Configuration, Provider, Function]";
        assert_eq!(
            err("UnknownKind=Deployment"),
            format!("unknown package runtime kind \"UnknownKind\", {kinds}")
        );
        assert_eq!(
            err("=Deployment"),
            format!("unknown package runtime kind \"\", {kinds}")
        );
        let runtimes = "supported: [Deployment, External, None]";
        assert_eq!(
            err("Provider=UnknownRuntime"),
            format!("unknown package runtime \"UnknownRuntime\", {runtimes}")
        );
        assert_eq!(
            err("Provider="),
            format!("unknown package runtime \"\", {runtimes}")
        );
        assert_eq!(
            err("Provider=External;Nope=External"),
            format!("unknown package runtime kind \"Nope\", {kinds}")
        );
        assert_eq!(ok(" Provider = Deployment ").provider, Deployment);
        assert_eq!(ok("Function=External").function, External);
        assert_eq!(ok("Provider=Deployment;Provider=External").provider, External);
    }

    #[test]
    fn one_word_is_for_all_kinds_and_empty_is_the_default() {
        assert_eq!(
            PackageRuntime::parse("External")
                .unwrap()
                .of(PackageKind::Function),
            External
        );
        assert_eq!(
            PackageRuntime::parse("None").unwrap(),
            PackageRuntime::parse("").unwrap()
        );
    }
}
