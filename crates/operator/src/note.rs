//! What events tell: what happened, what was being done, and what a person can do next.

use kit::events::{Event, EventType, NOTE_BYTES, Regarding};

use crate::conditions::cut;

/// What an event may be about. The words of `reason` are the reference's, since tools match them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    /// A package became healthy.
    Installed,
    /// A package can't have the revision that it wants.
    NotInstalled,
    /// The image could not be resolved or fetched.
    NotUnpacked,
    /// A revision was refused after it had become active; the one before serves again.
    ReturnedTo,
    /// A surplus revision could not be deleted.
    NotCollected,
    /// Paused.
    Paused,
    /// The content of a revision can't be had.
    NotParsed,
    /// The content has lint warnings.
    Linted,
    /// All objects of a revision are in place.
    Synced,
    /// Objects of a revision are refused, or have to wait.
    NotSynced,
    /// Labels and annotations of the package could not be written to the revision.
    MetadataNotSynced,
    /// The program of a revision runs.
    RuntimeReady,
    /// The program of a revision does not run, or not well.
    RuntimeNotReady,
}

impl Told {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Installed,
        Self::NotInstalled,
        Self::NotUnpacked,
        Self::ReturnedTo,
        Self::NotCollected,
        Self::Paused,
        Self::NotParsed,
        Self::Linted,
        Self::Synced,
        Self::NotSynced,
        Self::MetadataNotSynced,
        Self::RuntimeReady,
        Self::RuntimeNotReady,
    ];

    /// Whether somebody should look.
    #[must_use]
    pub const fn is_warning(self) -> bool {
        !matches!(
            self,
            Self::Installed | Self::Paused | Self::Synced | Self::RuntimeReady
        )
    }

    /// `reason` of the event.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Installed | Self::NotInstalled => "InstallPackageRevision",
            Self::NotUnpacked => "UnpackPackage",
            Self::ReturnedTo => "TransitionRevision",
            Self::NotCollected => "GarbageCollect",
            Self::Paused => "ReconciliationPaused",
            Self::NotParsed => "ParsePackage",
            Self::Linted => "LintPackage",
            Self::Synced
            | Self::NotSynced
            | Self::MetadataNotSynced
            | Self::RuntimeReady
            | Self::RuntimeNotReady => "SyncPackage",
        }
    }

    /// `action` of the event: what was being done.
    #[must_use]
    pub const fn action(self) -> &'static str {
        match self {
            Self::Installed | Self::NotInstalled => "ActivateRevision",
            Self::NotUnpacked => "ResolvePackage",
            Self::ReturnedTo => "ReturnToRevision",
            Self::NotCollected => "DeleteRevision",
            Self::Paused => "PauseReconciliation",
            Self::NotParsed => "FetchPackage",
            Self::Linted => "LintPackage",
            Self::Synced | Self::NotSynced => "EstablishObjects",
            Self::MetadataNotSynced => "UpdateMetadata",
            Self::RuntimeReady | Self::RuntimeNotReady => "RunPackage",
        }
    }
}

/// Something to tell about an object, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it is about.
    pub told: Told,
    /// What happened.
    pub message: String,
    /// What to do next; nothing where all is well.
    pub remedy: Option<&'static str>,
}

impl Note {
    /// Something that went its way.
    pub(crate) fn new(told: Told, message: impl Into<String>) -> Self {
        Self {
            told,
            message: message.into(),
            remedy: None,
        }
    }

    /// With what to do next.
    pub(crate) fn next(mut self, remedy: &'static str) -> Self {
        self.remedy = Some(remedy);
        self
    }

    /// The text: however long the message is, what to do next is not cut off.
    #[must_use]
    pub fn text(&self) -> String {
        let next = self
            .remedy
            .map_or_else(String::new, |remedy| format!(". Next: {remedy}"));
        let message = self.message.trim_end_matches('.').to_owned();
        match next.is_empty() {
            true => cut(self.message.clone(), NOTE_BYTES),
            false => cut(message, NOTE_BYTES.saturating_sub(next.len())) + &next,
        }
    }

    pub(crate) fn event(&self, regarding: Regarding) -> Event {
        Event {
            type_: match self.told.is_warning() {
                true => EventType::Warning,
                false => EventType::Normal,
            },
            reason: self.told.reason().to_owned(),
            action: self.told.action().to_owned(),
            note: self.text(),
            regarding,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use api::condition::Reason;

    use super::*;

    #[test]
    fn each_has_its_words() {
        let table = Told::ALL.map(|told| {
            let type_ = if told.is_warning() { "Warning" } else { "Normal" };
            format!("{told:?}: {type_} {} {}", told.reason(), told.action())
        });
        let expected = [
            "Installed: Normal InstallPackageRevision ActivateRevision",
            "NotInstalled: Warning InstallPackageRevision ActivateRevision",
            "NotUnpacked: Warning UnpackPackage ResolvePackage",
            "ReturnedTo: Warning TransitionRevision ReturnToRevision",
            "NotCollected: Warning GarbageCollect DeleteRevision",
            "Paused: Normal ReconciliationPaused PauseReconciliation",
            "NotParsed: Warning ParsePackage FetchPackage",
            "Linted: Warning LintPackage LintPackage",
            "Synced: Normal SyncPackage EstablishObjects",
            "NotSynced: Warning SyncPackage EstablishObjects",
            "MetadataNotSynced: Warning SyncPackage UpdateMetadata",
            "RuntimeReady: Normal SyncPackage RunPackage",
            "RuntimeNotReady: Warning SyncPackage RunPackage",
        ];
        assert_eq!(table, expected);
        assert_eq!(Told::ALL.iter().collect::<BTreeSet<_>>().len(), Told::ALL.len());
    }

    #[test]
    fn the_next_step_is_never_cut_off() {
        let remedy = Reason::Refused.help().remedy;
        let long = Note::new(Told::NotSynced, "ä".repeat(NOTE_BYTES)).next(remedy);
        assert!(long.text().len() <= NOTE_BYTES && long.text().ends_with(remedy));
        let short = Note::new(Told::NotUnpacked, "no such tag.").next("push it");
        assert_eq!(short.text(), "no such tag. Next: push it");
        assert_eq!(Note::new(Told::Synced, "done").text(), "done");
        let event = short.event(Regarding::default());
        assert_eq!(
            (event.type_, event.action.as_str()),
            (EventType::Warning, "ResolvePackage")
        );
    }

    /// Every remedy fits into a note beside a message.
    #[test]
    fn remedies_leave_room() {
        for reason in Reason::ALL {
            assert!(reason.help().remedy.len() < NOTE_BYTES / 4, "{reason}");
        }
    }
}
