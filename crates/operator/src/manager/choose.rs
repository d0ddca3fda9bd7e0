//! Which revision is to be active, and which nobody needs any more. Pure.

use api::pkg::View;

use super::plan::Seen;

/// Who is to be active.
pub(super) struct Choice<'a> {
    /// The revision that should be active; `None`: leave all as they are.
    pub(super) active: Option<&'a str>,
    /// It gets the highest number even if it is active already.
    pub(super) renumber: bool,
    /// (refused, taken back).
    pub(super) returned: Option<(String, String)>,
}

pub(super) fn choose_active<'a>(seen: &'a Seen, wanted: Option<View<'a>>, manual: bool) -> Choice<'a> {
    let highest = seen.revisions.iter().map(|r| r.spec.revision).max().unwrap_or(0);
    let mut active: Vec<View<'a>> = seen
        .revisions
        .iter()
        .map(|r| View(r))
        .filter(|r| r.is_active() && !r.is_deleting())
        .collect();
    active.sort_by_key(|r| r.number());
    let top = active.last().copied();
    let keep = |view: Option<View<'a>>| Choice {
        active: view.map(View::name),
        renumber: false,
        returned: None,
    };

    // Refused after activation: whoever served before, and still controls what was not taken over, serves again.
    if let Some(refused) = top.filter(|r| r.establish_refusal().is_some() && !r.is_established()) {
        let serving = seen
            .package
            .status
            .as_ref()
            .and_then(|s| s.serving_revision.as_deref());
        let mut before: Vec<View<'a>> = seen
            .revisions
            .iter()
            .map(|r| View(r))
            .filter(|r| r.name() != refused.name() && !r.is_deleting() && r.has_served())
            .collect();
        before.sort_by_key(|r| (Some(r.name()) == serving, r.number()));
        // Without a record, one that has served counts as the one that does.
        let own_trouble = serving.map_or(refused.has_served(), |serving| serving == refused.name());
        if let Some(back) = before.pop().filter(|_| !own_trouble) {
            let returned = Some((refused.name().to_owned(), back.name().to_owned()));
            return Choice {
                active: Some(back.name()),
                renumber: true,
                returned,
            };
        }
    }
    if manual {
        let serving = seen
            .package
            .status
            .as_ref()
            .and_then(|s| s.serving_revision.as_deref());
        let decided = active.iter().find(|r| Some(r.name()) != serving).copied();
        return match (active.len(), decided) {
            (0, _) => keep(None),
            (_, Some(decided)) => Choice {
                renumber: true,
                ..keep(Some(decided))
            },
            (_, None) => keep(top),
        };
    }
    match wanted.filter(|w| !w.is_deleting()) {
        Some(w) if w.is_active() || (w.is_preflighted() && w.number() == highest) => keep(Some(w)),
        // A candidate that is not the wanted one any more never stays active beside the one that serves.
        _ => keep(top),
    }
}

/// Revisions that nobody needs (design rule 7).
pub(super) fn surplus(seen: &Seen, wanted: Option<View<'_>>, choice: &Choice<'_>) -> Vec<String> {
    let Some(wanted) = wanted else { return vec![] };
    let mut idle: Vec<View<'_>> = seen
        .revisions
        .iter()
        .map(|r| View(r))
        .filter(|r| {
            !r.is_deleting() && !r.is_active() && r.name() != wanted.name() && choice.active != Some(r.name())
        })
        .collect();
    idle.sort_by_key(|r| r.number());
    let mut gone: Vec<String> = idle
        .iter()
        .filter(|r| !r.has_served())
        .map(|r| r.name().to_owned())
        .collect();
    if let Some(keep) = seen.package.spec.history_limit()
        && wanted.is_active()
        && wanted.is_established()
    {
        let served: Vec<View<'_>> = idle.into_iter().filter(|r| r.has_served()).collect();
        gone.extend(
            served
                .iter()
                .take(served.len().saturating_sub(keep))
                .map(|r| r.name().to_owned()),
        );
    }
    gone
}
