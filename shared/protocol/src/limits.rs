//! Every cap on what arrives, with its reason.
//!
//! Each is checked before anything is allocated for the thing it caps, but [`RECORD_MAX_BYTES`], which follows from the
//! caps of what records hold. Breaking one is an error or a rejection.

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// A record, key and headers included: librdkafka refuses 1,000,000 bytes, and no setting should have to change.
pub const RECORD_MAX_BYTES: usize = 960_000;
/// A signed announcement: 16 versions, a thousand pins, an inline manifest and artifact fit with short reasons.
pub const ANNOUNCEMENT_MAX_BYTES: usize = 256 * KIB;
/// A signed manifest: one record, with the chunk table of the largest artifact in it.
pub const MANIFEST_MAX_BYTES: usize = 900_000;
/// A status record: a few names, numbers and one cause.
pub const STATUS_MAX_BYTES: usize = 16 * KIB;
/// A manifest that an announcement carries.
pub const INLINE_MANIFEST_MAX_BYTES: usize = 16 * KIB;
/// An artifact that an announcement carries.
pub const INLINE_ARTIFACT_MAX_BYTES: usize = 4 * KIB;
/// An artifact; applications set a lower one. More does not fit the chunk table.
pub const ARTIFACT_MAX_BYTES: u64 = 8 * 1024 * 1024 * 1024;
/// A chunk's raw and its stored bytes: below the record's cap with room for key and headers.
pub const CHUNK_MAX_BYTES: usize = 900 * KIB;
/// Chunks of one artifact: 8 GiB in chunks of at least 512 KiB.
pub const CHUNK_COUNT_MAX: usize = 16_384;
/// Artifacts from this size on are cut into larger chunks, so that the table stays within a record.
pub const LARGE_ARTIFACT_BYTES: u64 = 256 * MIB as u64;
/// Features of a schema: far above what a linear model or a tree ensemble of ours takes.
pub const FEATURE_COUNT_MAX: usize = 4_096;
/// Categories of one feature.
pub const CATEGORY_COUNT_MAX: usize = 4_096;
/// Outputs of a model.
pub const OUTPUT_COUNT_MAX: usize = 256;
/// Golden rows of a manifest: enough to notice a wrong decoder, cheap to recompute.
pub const GOLDEN_ROWS_MAX: usize = 8;
/// A name, title, unit, category or label inside a schema.
pub const SCHEMA_TEXT_MAX_BYTES: usize = 256;
/// An author, a reason or a cause that people wrote or read.
pub const REASON_MAX_BYTES: usize = 1_024;
/// Versions that an announcement names, besides those that pins hold.
pub const VERSIONS_KEPT: usize = 16;
/// Pins of one model.
pub const PINS_MAX: usize = 1_024;
/// Quarantined versions of one model; the oldest are forgotten first.
pub const QUARANTINE_MAX: usize = 256;
/// Labels of an instance or of a selector.
pub const LABELS_MAX: usize = 32;
/// Predecessors that an announcement names: how far back an outcome can be settled.
pub const RECENT_MAX: usize = 64;
/// Nesting of a MessagePack value: our deepest record needs 8.
pub const CODEC_DEPTH_MAX: usize = 32;
/// Keys that a process trusts.
pub const TRUSTED_KEYS_MAX: usize = 64;
/// Models of one namespace that a reader keeps apart; further ones are ignored.
pub const MODELS_MAX: usize = 10_000;
/// Unverified records that a fold remembers for each model; those of the highest generations are kept.
pub const UNVERIFIED_KEPT: usize = 16;
