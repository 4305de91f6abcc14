//! The files that the process may have open, and how many of them connections get.
//!
//! Owns the operating system's limit: it is raised as far as it goes, and producers' connections get
//! what the service itself does not need. Connections cost nothing before anybody is known, so
//! without a bound of theirs whoever can reach the port could take the files that the journal is
//! written to. Does not accept anything.

use std::io;

/// Connections of producers where files are no concern.
const CONNECTIONS_MAX: usize = 10_000;
/// Connections of operators.
pub(super) const ADMIN_CONNECTIONS_MAX: usize = 128;
/// What the service needs whatever its streams are: the runtime, the connections of operators and
/// those to stores, catalogs and hooks.
const OWN_FILES: u64 = 128 + ADMIN_CONNECTIONS_MAX as u64;
/// What one stream needs: segments of up to three logs, an outbox file and its deliveries.
const FILES_A_STREAM: u64 = 24;

/// How many connections of producers there may be at one time, by the limit on open files, which is
/// raised first.
pub(super) fn connection_count_max(stream_count: usize) -> usize {
    let limit = match raise() {
        Ok(limit) => limit,
        Err(error) => {
            tracing::warn!(%error, "could not learn how many files may be open");
            return CONNECTIONS_MAX;
        }
    };
    let count = share(limit, stream_count as u64);
    if count < CONNECTIONS_MAX {
        tracing::warn!(
            limit,
            "the limit on open files leaves room for {count} connections of producers at one time; \
             raise it for more (ulimit -n, or LimitNOFILE= of a unit)"
        );
    }
    count
}

/// What connections get of `limit` files. A quarter is theirs in any case: a stream that has to wait
/// for a file is better than a service that nobody reaches.
fn share(limit: u64, stream_count: u64) -> usize {
    let reserve = OWN_FILES.saturating_add(stream_count.saturating_mul(FILES_A_STREAM));
    let share = limit.saturating_sub(reserve).max(limit / 4).max(1);
    usize::try_from(share).unwrap_or(usize::MAX).min(CONNECTIONS_MAX)
}

/// Raises the limit as far as the process may, and tells what it is then.
fn raise() -> io::Result<u64> {
    let (soft, hard) = rlimit::Resource::NOFILE.get()?;
    if soft >= hard {
        return Ok(soft);
    }
    match rlimit::Resource::NOFILE.set(hard, hard) {
        Ok(()) => Ok(hard),
        Err(error) => {
            // Sandboxes forbid it, and some systems take no limit as high as they name.
            tracing::debug!(%error, soft, hard, "could not raise the limit on open files");
            Ok(soft)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_the_files_that_the_service_needs() {
        assert_eq!(share(1024, 2), 1024 - 256 - 48);
        assert_eq!(share(65_536, 10), CONNECTIONS_MAX);
        assert_eq!(share(u64::MAX, 10), CONNECTIONS_MAX);
    }

    #[test]
    fn connections_get_a_quarter_however_much_the_streams_would_need() {
        assert_eq!(share(1024, 1000), 256);
        assert_eq!(share(0, 0), 1);
    }
}
