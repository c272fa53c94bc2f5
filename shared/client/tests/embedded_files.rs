//! Golden bytes: the embedded files of every release are read as they were written, with and without Kafka.

// clippy.toml allows them in tests, but takes only functions marked #[test] for tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{fs, path::Path};

use modelcast::{
    LoadedModel, Origin,
    admission::Policy,
    embedded::layout::Layout,
    protocol::{
        Digest,
        key::{PublicKey, TrustedKeys},
    },
};

/// A committed file: lengths of announcement, manifest and artifact; digests of the file and of the manifest.
struct Committed {
    model: &'static str,
    lengths: [usize; 3],
    file: &'static str,
    manifest: &'static str,
}

const FILES: [Committed; 2] = [
    Committed {
        model: "breast-cancer",
        lengths: [8063, 6767, 843],
        file: "f83b230c4b501094d5e9f6bd301c9cda0cc595976bd334495f1fb736dd058bf4",
        manifest: "dd2b929dcb6bb0d96d5b4e1bbf4057e5e7cc7127bb15cae87d4c9407d953c2b1",
    },
    Committed {
        model: "property-value",
        lengths: [6841, 5302, 1085],
        file: "0e57b0835e52a128a5d1fe7f2aa31aaed0ca26a01188f8e6bfc2fec5044f0b36",
        manifest: "e02ef9b35d43676de79052dab61c2b976bfa313d4519f45ade5b43e7476a16fd",
    },
];

fn testdata() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata"))
}

fn keys() -> TrustedKeys {
    let pem = fs::read_to_string(testdata().join("test-only.pub.pem")).unwrap();
    TrustedKeys::new([PublicKey::from_pem(&pem).unwrap()]).unwrap()
}

#[test]
fn every_committed_file_is_read_as_it_was_written() {
    for Committed { model, lengths, file, manifest } in FILES {
        let path = testdata().join(format!("{model}.modelcast"));
        let bytes = fs::read(&path).unwrap();
        assert_eq!(Digest::of(&bytes).to_hex(), file, "{model}: a committed file does not change");
        let layout = Layout::decode(&bytes, bytes.len() as u64).unwrap();
        let artifact = bytes.len() - layout.manifest().end;
        assert_eq!([layout.announcement().len(), layout.manifest().len(), artifact], lengths, "{model}");
        let (announced, described) = (&bytes[layout.announcement()], &bytes[layout.manifest()]);
        let again = Layout::of(announced, described, artifact as u64).unwrap();
        assert_eq!(again.encode(), bytes[..layout.announcement().start], "{model}");

        let loaded = LoadedModel::embedded(path, &keys(), &Policy::standard()).unwrap();
        assert_eq!((loaded.name().as_str(), loaded.version().get()), (model, 1));
        assert_eq!((loaded.generation().get(), loaded.origin()), (1, Origin::Embedded));
        assert_eq!(loaded.digest().to_hex(), manifest);
    }
}

#[test]
fn the_list_of_committed_files_is_complete() {
    let names = fs::read_dir(testdata()).unwrap().map(|entry| entry.unwrap().path());
    let files = names.filter(|path| path.extension().is_some_and(|extension| extension == "modelcast"));
    assert_eq!(files.count(), FILES.len());
}
