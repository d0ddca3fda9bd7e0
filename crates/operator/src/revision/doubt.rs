//! When a refusal counts. Pure.
//!
//! An API server that was just started refuses what it will take a moment later: it has not read yet who may do what
//! (403), which kinds there are (400, 404), or which webhooks run. What is refused for good takes an active revision's place
//! away (design §3.1.4), so a refusal is no proof until it is repeated by an API server that has been well for a while.

use std::time::Duration;

use super::plan::Ending;

/// A refusal counts when the API server had been within reach for this long before the work began: it reads who may do
/// what within seconds of its start.
pub(crate) const PROOF: Duration = Duration::from_secs(10);

const ASKED_AGAIN: &str = "the API server was out of reach a moment ago, so what it refuses is asked again";

/// The ending, with a refusal that proves nothing as something that may pass. `well_before`: for how long the API server
/// had been within reach when the work began; `None`: never otherwise. `refused_before`: this very spec was refused already,
/// which a doubtful refusal does not take back: a package that needs somebody would seem to mend itself with each outage.
pub(crate) fn judged(ending: Ending, well_before: Option<Duration>, refused_before: bool) -> Ending {
    match (ending, well_before) {
        (Ending::Refused(problems), Some(well)) if well < PROOF && !refused_before => {
            Ending::Waiting([ASKED_AGAIN.to_owned()].into_iter().chain(problems).collect())
        }
        (ending, _) => ending,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_right_after_the_api_server_was_gone_is_asked_again() {
        let refused = || Ending::Refused(vec!["CRD x: forbidden".into()]);
        let second = Duration::from_secs(1);
        for early in [Duration::ZERO, PROOF - second] {
            let Ending::Waiting(problems) = judged(refused(), Some(early), false) else {
                panic!("after {early:?}");
            };
            assert_eq!(problems, [ASKED_AGAIN, "CRD x: forbidden"]);
        }
        assert_eq!(judged(refused(), Some(PROOF), false), refused());
        assert_eq!(judged(refused(), None, false), refused());
        for other in [
            Ending::Done,
            Ending::Unfit("bad YAML".into()),
            Ending::Waiting(vec!["x".into()]),
        ] {
            assert_eq!(judged(other.clone(), Some(Duration::ZERO), false), other);
        }
    }

    #[test]
    fn an_outage_takes_back_no_refusal_that_is_known() {
        let refused = Ending::Refused(vec!["CRD x: is controlled by Provider y".into()]);
        assert_eq!(judged(refused.clone(), Some(Duration::ZERO), true), refused);
        assert_eq!(judged(Ending::Done, Some(Duration::ZERO), true), Ending::Done);
    }
}
