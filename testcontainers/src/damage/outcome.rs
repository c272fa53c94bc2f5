//! What must come of each damage, with the reason.

use modelcast::protocol::status::Stage;

use super::{Action, Damage, Order, Part, Substitute};
use crate::hostile::Kind;

/// What readers must make of damaged records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The version is announced, and refused by this check; the one before it serves on.
    Refused(Stage),
    /// The announcement takes no force, and this is said of it; the version before it serves on.
    Ignored(Said),
    /// As if it had never been written: nothing takes force, and nobody can tell.
    Unseen,
    /// The version goes live.
    Harmless,
    /// Of two announcements the earlier is in force; the later is as if it had never been written.
    EarlierOnly,
    /// The report is shown so. A report decides nothing that an instance runs.
    Shown(Report),
}

/// Who is told of an announcement that takes no force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// The log of each reader.
    Log,
    /// And status, and whoever wants to announce: it may be a decision by a key that is not trusted here.
    Everywhere,
    /// The log; the others too where the frame still reads as this model's at a generation to come.
    WhereLegible,
}

/// Which report of an instance is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// The one that was damaged: nothing of it is lost.
    Itself,
    /// The one before.
    Before,
    /// None.
    Nobody,
    /// Either the one before, or what the damaged bytes say: a report is not signed.
    AsItReads,
}

impl Damage {
    /// What must come of it.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self.kind {
            Kind::Chunk => self.of_a_chunk().0,
            Kind::Manifest => self.of_a_manifest().0,
            Kind::Announcement => self.of_an_announcement().0,
            Kind::Status => self.of_a_status().0,
        }
    }

    /// Why that.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self.kind {
            Kind::Chunk => self.of_a_chunk().1,
            Kind::Manifest => self.of_a_manifest().1,
            Kind::Announcement => self.of_an_announcement().1,
            Kind::Status => self.of_a_status().1,
        }
    }

    fn of_a_chunk(&self) -> (Outcome, &'static str) {
        let refused = Outcome::Refused(Stage::Digest);
        match self.action {
            Action::Flip(_) => (refused, "the signed manifest states the digest of each chunk"),
            Action::Truncate(_) => (refused, "the signed manifest states the size of each chunk"),
            Action::Drop => {
                (Outcome::Refused(Stage::Fetch), "no record has its key; it is looked for again later")
            }
            Action::Duplicate => (Outcome::Harmless, "a record is found by its digest; offsets are hints"),
            Action::Reorder(_) => {
                (Outcome::Harmless, "the manifest says in which order the chunks make up the artifact")
            }
            Action::Replace(_) => {
                (refused, "a key is only where to look: the value must have the stated digest")
            }
        }
    }

    fn of_a_manifest(&self) -> (Outcome, &'static str) {
        let refused = Outcome::Refused(Stage::Signature);
        match self.action {
            Action::Flip(_) | Action::Truncate(_) => {
                (refused, "the signature is over every byte of the payload")
            }
            Action::Drop => {
                (Outcome::Refused(Stage::Fetch), "no record has its key; it is looked for again later")
            }
            Action::Duplicate => (Outcome::Harmless, "a record is found by its digest; offsets are hints"),
            Action::Reorder(_) => (Outcome::Harmless, "nothing is resolved before an announcement names it"),
            Action::Replace(Substitute::Another) => {
                (Outcome::Refused(Stage::Digest), "it is signed, but not the one that was announced")
            }
            Action::Replace(Substitute::Forged) => {
                (refused, "it is signed by a key that is not trusted here")
            }
            Action::Replace(Substitute::Noise | Substitute::Nothing) => (refused, "it is no signed record"),
        }
    }

    fn of_an_announcement(&self) -> (Outcome, &'static str) {
        match self.action {
            Action::Flip(part) => match part {
                Part::Magic | Part::Purpose => {
                    (Outcome::Ignored(Said::Log), "it does not claim to be an announcement any more")
                }
                Part::Names => (Outcome::Ignored(Said::Log), "it claims to be of another model, or of none"),
                Part::Generation | Part::Recent => {
                    (Outcome::Ignored(Said::WhereLegible), "its signature does not verify")
                }
                Part::KeyId | Part::Signature | Part::Head | Part::Middle | Part::End => (
                    Outcome::Ignored(Said::Everywhere),
                    "its signature does not verify, its frame is legible",
                ),
            },
            Action::Truncate(Part::Head | Part::Middle | Part::End) => {
                (Outcome::Ignored(Said::Everywhere), "its signature does not verify, its frame is legible")
            }
            Action::Truncate(_) => (Outcome::Ignored(Said::Log), "what is left has no frame"),
            Action::Drop => {
                (Outcome::Unseen, "no later record refers to it, since none was computed from it")
            }
            Action::Duplicate => (Outcome::Harmless, "the same signed bytes are the same announcement"),
            Action::Reorder(Order::BeforeItsBlobs) => {
                (Outcome::Harmless, "what is not there yet is looked for again")
            }
            Action::Reorder(Order::Neighbour) => (
                Outcome::EarlierOnly,
                "in force is the first record of the next generation; the later came too early",
            ),
            Action::Replace(Substitute::Another) => {
                (Outcome::Unseen, "an announcement that was in force once is known, however often it lands")
            }
            Action::Replace(Substitute::Forged) => {
                (Outcome::Ignored(Said::Everywhere), "it is signed by a key that is not trusted here")
            }
            Action::Replace(Substitute::Noise | Substitute::Nothing) => {
                (Outcome::Ignored(Said::Log), "it is no signed record")
            }
        }
    }

    fn of_a_status(&self) -> (Outcome, &'static str) {
        let (report, reason) = match self.action {
            Action::Flip(_) => (
                Report::AsItReads,
                "a report is not signed: what still reads as one of this instance is taken for one, until its next",
            ),
            Action::Truncate(_) => (Report::Before, "it does not decode, so it is passed over"),
            Action::Drop => {
                (Report::Before, "the next comes within 10 s; after 30 s the instance counts as silent")
            }
            Action::Duplicate => (Report::Itself, "a report says everything anew"),
            Action::Reorder(_) => (Report::Before, "the last record counts, until the next"),
            Action::Replace(Substitute::Another) => {
                (Report::Before, "it names another instance than its key, so it is passed over")
            }
            Action::Replace(Substitute::Forged) => (
                Report::AsItReads,
                "whoever may write to the fleet topic may lie: publishers refuse, by the instance's name, to go below a \
                 generation that it claims to have seen",
            ),
            Action::Replace(Substitute::Noise) => {
                (Report::Before, "it does not decode, so it is passed over")
            }
            Action::Replace(Substitute::Nothing) => {
                (Report::Nobody, "it reads as a withdrawal, until the next")
            }
        };
        (Outcome::Shown(report), reason)
    }
}
