//! `modelcast keys generate`: a new Ed25519 key pair, as PEM files.
//!
//! # Invariants
//! * No file is ever overwritten.
//! * The private key can be read by its owner alone from its first byte on.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use modelcast_protocol::key::{KeyId, SigningKey};
use rand::{TryRng as _, rngs::SysRng};

use crate::{
    cli::{KeysGenerateArgs, KeysVerb},
    failure::{Exit, Failure},
    stdout,
};

/// Where a key pair was written.
#[derive(Debug)]
struct KeyPair {
    id: KeyId,
    private: PathBuf,
    public: PathBuf,
}

/// Makes the keys and says how to use them.
pub(super) fn run(verb: &KeysVerb) -> Result<Exit, Failure> {
    let KeysVerb::Generate(args) = verb;
    let pair = generate(args)?;
    let (private, public) = (pair.private.display(), pair.public.display());
    stdout::text(&format!(
        "key {}\n  {private}  keep it secret; for whoever publishes or steers:  [keys] signing = \"{private}\"\n  \
         {public}  for everybody:                                      [keys] trusted = [\"{public}\"]\n",
        pair.id
    ))?;
    Ok(Exit::Done)
}

fn generate(args: &KeysGenerateArgs) -> Result<KeyPair, Failure> {
    let mut seed = [0; 32];
    SysRng.try_fill_bytes(&mut seed).context("the system gives no random bytes")?;
    let key = SigningKey::from_seed(&seed);
    let (private_pem, public_pem) = (
        key.to_pem().context("the key cannot be written")?,
        key.public().to_pem().context("the key cannot be written")?,
    );
    fs::create_dir_all(&args.out).with_context(|| format!("cannot make folder {}", args.out.display()))?;
    let private = args.out.join(format!("{}.key.pem", args.name));
    let public = args.out.join(format!("{}.pub.pem", args.name));
    if let Some(there) = [&private, &public].into_iter().find(|path| path.symlink_metadata().is_ok()) {
        return Err(exists(there));
    }
    write(&private, &private_pem, 0o600)?;
    if let Err(failure) = write(&public, &public_pem, 0o644) {
        // Half a pair would stand in the way of the next attempt.
        let _ = fs::remove_file(&private);
        return Err(failure);
    }
    Ok(KeyPair { id: key.id(), private, public })
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    match file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all())) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(path)),
        Err(error) => {
            let context = format!("cannot write {}", path.display());
            Err(Failure::from(anyhow::Error::new(error).context(context)))
        }
    }
}

fn exists(path: &Path) -> Failure {
    Failure::new(Exit::Refused, anyhow!("{} exists, and keys are never overwritten", path.display()))
        .advise("give another --name, or move the old keys away once nothing is signed with them any more")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use modelcast::settings::KeySettings;

    use super::*;

    fn args(folder: &Path) -> KeysGenerateArgs {
        KeysGenerateArgs { out: folder.join("new/keys"), name: "ci".into() }
    }

    #[test]
    fn a_generated_pair_signs_and_is_trusted_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let pair = generate(&args(folder.path())).unwrap();
        let settings = KeySettings {
            trusted: vec![folder.path().join("new/keys")],
            signing: Some(pair.private.clone()),
        };
        assert_eq!(settings.signing().unwrap().id(), pair.id);
        assert_eq!(settings.trusted().unwrap().ids().collect::<Vec<_>>(), [pair.id]);
        let mode = fs::metadata(&pair.private).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn no_key_is_overwritten_whichever_half_is_there() {
        let folder = tempfile::tempdir().unwrap();
        for half in ["ci.key.pem", "ci.pub.pem"] {
            let args = args(folder.path());
            fs::create_dir_all(&args.out).unwrap();
            fs::write(args.out.join(half), "old").unwrap();
            let failure = generate(&args).unwrap_err();
            assert_eq!(failure.exit, Exit::Refused);
            assert!(failure.text().contains(half), "{}", failure.text());
            assert_eq!(fs::read_to_string(args.out.join(half)).unwrap(), "old");
            let files = fs::read_dir(&args.out).unwrap().count();
            assert_eq!(files, 1, "the other half was written beside {half}");
            fs::remove_file(args.out.join(half)).unwrap();
        }
    }

    #[test]
    fn a_key_that_appears_at_the_last_moment_is_not_overwritten_either() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ci.key.pem");
        fs::write(&path, "old").unwrap();
        assert_eq!(write(&path, "new", 0o600).unwrap_err().exit, Exit::Refused);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    }

    #[test]
    fn two_pairs_differ() {
        let folder = tempfile::tempdir().unwrap();
        let first = generate(&args(folder.path())).unwrap();
        let second = generate(&KeysGenerateArgs { name: "cd".into(), ..args(folder.path()) }).unwrap();
        assert_ne!(first.id, second.id);
    }
}
