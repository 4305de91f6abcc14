//! The raw source backup of a stream: how its leg begins, is followed by another, and ends for good.
//!
//! Owns the way from the backup's folder to a leg that takes the records that are its own, and what keeps
//! them in the journal for it. When a backup is switched on or off is the pipeline's to say; what its
//! leg does is the leg's.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::backup_end::BackupEnd;
use super::handle::LegHandle;
use super::leg::Leg;
use super::orders::{Logs, Orders, Role, Surroundings};
use super::state::State;
use super::troubles::Troubles;
use super::{Backup, Pipeline, PipelineError, Settings, blocking};
use crate::journal::{Checkpoint, Environment, Hold, Journal, OpenError, Opened};
use crate::positions::Positions;
use crate::record::Position;

/// What a backup stands on.
#[derive(Clone, Debug)]
pub(super) struct Ground {
    /// Where the source records stand.
    pub(super) source: Journal,
    pub(super) environment: Environment,
    /// The backup's folder.
    pub(super) directory: PathBuf,
    pub(super) surroundings: Surroundings,
}

/// A backup that was switched off and is still written.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    pub(super) backup: Backup,
    /// The position after the last record that it takes.
    pub(super) end: Position,
}

impl Ground {
    fn open(&self) -> Result<Opened, OpenError> {
        Journal::open(&self.environment, &self.surroundings.stream, &self.directory)
    }

    /// Makes the leg, whose records `hold` keeps. A new backup begins with the next record, and so
    /// does one that was switched off and had ended. One that has an `end` takes nothing after it.
    pub(super) fn begin(
        &self,
        hold: Arc<Hold>,
        backup: &Backup,
        opened: Opened,
        end: Option<Position>,
    ) -> Result<(Leg, LegHandle), PipelineError> {
        let (mut leg, handle) = self.leg(hold, backup, opened)?;
        if let Some(end) = end {
            leg.end_at(end);
            return Ok((leg, handle));
        }
        if let Some(BackupEnd { end, is_over: true }) = self.noted_end()? {
            let now = *self.source.end().borrow();
            leg.leave_out(&Positions::from_run(end, now.0.saturating_sub(end.0)));
            // Before the note goes that says why these are not missing.
            leg.write_checkpoint()?;
        }
        self.forget_end()?;
        Ok((leg, handle))
    }

    fn leg(
        &self,
        hold: Arc<Hold>,
        backup: &Backup,
        mut opened: Opened,
    ) -> Result<(Leg, LegHandle), PipelineError> {
        let end = *self.source.end().borrow();
        if opened.checkpoint.is_none() {
            if !opened.controls.is_empty() {
                let path = self.directory.join("checkpoint");
                return Err(OpenError::NoCheckpoint { path }.into());
            }
            let settled = Positions::from_run(Position(0), end.0);
            let begin = Checkpoint { end, settled, left_out: end.0, ..Checkpoint::default() };
            opened.journal.checkpoint(&begin, opened.journal.mark())?;
            opened.checkpoint = Some(begin);
        }
        Ok(Leg::new(
            Role::Backup,
            Logs { opened, held: Some((self.source.clone(), hold)) },
            &self.directory,
            Orders::of_backup(backup),
            Troubles::default(),
            self.surroundings.clone(),
        )?)
    }

    /// Where its records end, as it was noted when it was switched off.
    pub(super) fn noted_end(&self) -> io::Result<Option<BackupEnd>> {
        BackupEnd::read(self.environment.disk.as_ref(), &self.directory)
    }

    pub(super) fn note_end(&self, end: BackupEnd) -> io::Result<()> {
        end.write(self.environment.disk.as_ref(), &self.directory)
    }

    /// There is a backup again.
    pub(super) fn forget_end(&self) -> io::Result<()> {
        BackupEnd::remove(self.environment.disk.as_ref(), &self.directory)
    }

    /// Gives up what a former backup has not taken, since nobody knows any more what it was: its
    /// records end where the first one is missing, so that one that comes later does not miss what
    /// there was between.
    pub(super) fn give_up(&self, opened: Opened) -> io::Result<()> {
        tracing::warn!(
            stream = %self.surroundings.stream,
            "the stream had a backup, has none now, and no definition of it is left: its finished \
             objects that were not delivered wait in its folder until there is one again; records that \
             stood in none yet will not be in the backup"
        );
        let end = State::replay(opened.checkpoint, opened.controls).progress.low();
        self.note_end(BackupEnd { end, is_over: true })
    }
}

impl Pipeline {
    /// Where a former backup ends, and the log of the backup, where there is one or was one. Those that
    /// cannot be read are no obstacle while nothing is to be written any more.
    pub(super) fn former_backup(
        &self,
        settings: &Settings,
    ) -> Result<(Option<BackupEnd>, Option<Opened>), PipelineError> {
        let stream = &self.ground.surroundings.stream;
        let is_there = settings.backup.is_some() || self.has_log("backup");
        let end = self.ground.noted_end();
        let is_over = matches!(&end, Ok(Some(end)) if end.is_over);
        let is_ending = settings.ending_backup.is_some() && is_there && !is_over;
        let is_needed = settings.backup.is_some() || is_ending;
        let end = match end {
            Err(error) if !is_needed => {
                tracing::warn!(%stream, "the end of the former backup: {error}");
                return Ok((None, None));
            }
            end => end?,
        };
        if !is_there {
            return Ok((end, None));
        }
        match self.ground.open() {
            Err(error) if !is_needed => {
                tracing::warn!(%stream, "the former backup: {error}");
                Ok((end, None))
            }
            opened => Ok((end, Some(opened?))),
        }
    }

    /// Takes up a backup that was switched off and has not written all that it is to write.
    pub(super) fn go_on_with_ending(
        &mut self,
        backup: Backup,
        opened: Opened,
        noted: Option<BackupEnd>,
    ) -> Result<(), PipelineError> {
        let end = match noted {
            Some(noted) => noted.end,
            None => {
                let end = *self.ground.source.end().borrow();
                self.ground.note_end(BackupEnd { end, is_over: false })?;
                end
            }
        };
        let hold = self.held();
        let (leg, handle) = self.ground.begin(hold, &backup, opened, Some(end))?;
        tracing::info!(
            stream = %self.ground.surroundings.stream,
            "the backup was switched off; what was accepted before is still written"
        );
        self.take_backup(leg, handle);
        self.ending = Some(Ending { backup, end });
        Ok(())
    }

    /// Makes the leg of the backup and has it run. With an `end` it is one that was switched off.
    pub(super) async fn begin_backup(
        &mut self,
        backup: Backup,
        end: Option<Position>,
    ) -> Result<(), PipelineError> {
        let was_held = self.hold.is_some();
        let (ground, hold) = (self.ground.clone(), self.held());
        let begun = blocking(move || {
            let opened = ground.open()?;
            ground.begin(hold, &backup, opened, end)
        });
        match begun.await {
            Ok((leg, handle)) => {
                self.take_backup(leg, handle);
                Ok(())
            }
            Err(error) => {
                if !was_held {
                    self.let_go().await;
                }
                Err(error)
            }
        }
    }

    /// The leg of the backup has ended by itself, with all records before `until`.
    pub(super) async fn backup_ended(&mut self, until: Position) -> Result<(), PipelineError> {
        match (self.backup.clone(), self.ending.clone()) {
            // It was asked for again when its end could not be called off, and for some of them the
            // new end is a later one.
            (Some(backup), _) => self.begin_backup(backup, None).await,
            (None, Some(Ending { backup, end })) if until < end => {
                self.begin_backup(backup, Some(end)).await
            }
            (None, _) => {
                tracing::info!(stream = %self.ground.surroundings.stream, "the backup has ended");
                self.legs.set_backup(None);
                self.note_backup_is_over().await;
                Ok(())
            }
        }
    }

    /// Makes it durable that the ending backup is over. Only then the journal need not keep anything
    /// for it; until then it is tried again.
    pub(super) async fn note_backup_is_over(&mut self) {
        let Some(Ending { end, .. }) = self.ending else {
            return;
        };
        let ground = self.ground.clone();
        let noted = blocking(move || ground.note_end(BackupEnd { end, is_over: true })).await;
        self.is_over_unnoted = noted.is_err();
        match noted {
            Ok(()) => {
                self.ending = None;
                self.let_go().await;
            }
            Err(error) => {
                let stream = &self.ground.surroundings.stream;
                tracing::warn!(%stream, %error, "could not note the end of the backup; trying again");
            }
        }
    }

    /// What keeps the records of the backup in the journal. There is one for all its legs, so that
    /// none goes between two of them.
    pub(super) fn held(&mut self) -> Arc<Hold> {
        self.hold.get_or_insert_with(|| Arc::new(self.ground.source.hold())).clone()
    }

    async fn let_go(&mut self) {
        if let Some(hold) = self.hold.take()
            && let Err(error) = blocking(move || hold.let_go()).await
        {
            let stream = &self.ground.surroundings.stream;
            tracing::warn!(%stream, %error, "could not remove segments that only the backup needed");
        }
    }

    pub(super) fn take_backup(&mut self, leg: Leg, handle: LegHandle) {
        self.legs.set_backup(Some(handle));
        self.ready.push(leg);
    }
}
