//! `modelcast recover`: bring back what the announcements have lost.
//!
//! Shows what is lost and what would be done, and does it when somebody confirms that.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read as _, Write as _},
    path::Path,
};

use anyhow::{Context as _, anyhow};
use modelcast::{clock, publish::recover::Choice};
use modelcast_protocol::{Generation, ModelName, desired::Stamp, limits::ANNOUNCEMENT_MAX_BYTES};

use crate::{
    cli::RecoverArgs,
    failure::{Exit, Failure},
    recovery_report::RecoveryReport,
    session,
    settings::Settings,
    stdout,
};

/// How often a long recovery says how far it is, in generations.
const TELL_EVERY: u64 = 100;

/// Plans, asks, recovers.
pub(super) async fn run(settings: &Settings, args: &RecoverArgs) -> Result<Exit, Failure> {
    let announcements = args.from.iter().map(|path| read(path)).collect::<Result<_, _>>()?;
    let choice = Choice { champion: args.version, manifest: args.manifest, announcements };
    let publisher = session::publisher(settings).await?;
    let Some(recovery) = publisher.plan_recovery(&args.model, &choice).await? else {
        print(args, &RecoveryReport::unchanged(&args.model))?;
        return Ok(Exit::Done);
    };
    let planned = RecoveryReport::planned(&recovery);
    if args.dry_run {
        print(args, &planned)?;
        return Ok(Exit::Done);
    }
    // Whoever confirms has seen it; with --json the one object on stdout is the result.
    if args.change.json {
        let _ = io::stderr().write_all(planned.text(clock::unix_ms()).as_bytes());
    } else {
        stdout::text(&planned.text(clock::unix_ms()))?;
    }
    if !args.yes {
        confirm(&args.model)?;
    }
    let stamp = Stamp {
        author: settings.author(args.change.author.as_deref()),
        reason: args.change.reason.clone(),
        at_unix_ms: clock::unix_ms(),
    };
    let recovered = publisher.recover(&recovery, &stamp, &tell).await?;
    let report = RecoveryReport::recovered(&recovery, recovered, &stamp);
    if args.change.json { stdout::json(&report) } else { stdout::text(&report.result()) }?;
    Ok(Exit::Done)
}

fn print(args: &RecoverArgs, report: &RecoveryReport<'_>) -> io::Result<stdout::Reader> {
    if args.change.json { stdout::json(report) } else { stdout::text(&report.text(clock::unix_ms())) }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let cap = u64::try_from(ANNOUNCEMENT_MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let read = File::open(path).and_then(|file| file.take(cap).read_to_end(&mut bytes));
    read.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes)
}

fn confirm(model: &ModelName) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        let error = anyhow!("not confirmed: nothing was announced");
        return Err(Failure::new(Exit::Refused, error).advise("read what would be done, then add --yes"));
    }
    let _ = write!(io::stderr(), "type {model} to do this: ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    if answer.trim() == model.as_str() {
        return Ok(());
    }
    Err(Failure::new(Exit::Refused, anyhow!("not confirmed: nothing was announced")))
}

fn tell(generation: Generation) {
    if io::stderr().is_terminal() && generation.get().is_multiple_of(TELL_EVERY) {
        let _ = writeln!(io::stderr(), "generation {generation}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_what_an_announcement_may_have() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![0; 2 * ANNOUNCEMENT_MAX_BYTES]).unwrap();
        assert_eq!(read(file.path()).unwrap().len(), ANNOUNCEMENT_MAX_BYTES + 1);
        let missing = read(Path::new("/nowhere/announcement")).unwrap_err();
        assert!(missing.text().contains("/nowhere/announcement"), "{}", missing.text());
    }
}
