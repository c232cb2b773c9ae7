//! What the daemon tells people. It never prints: whoever owns the terminal
//! gets these and shows them.

use fleetfoot_model::ids::AttemptRef;
use fleetfoot_model::state::Conclusion;
use fleetfoot_model::time::Timestamp;
use std::fmt;
use std::sync::Arc;

/// Takes notices; called from many tasks, must not block.
pub type NoticeFn = Arc<dyn Fn(&Notice) + Send + Sync>;

/// Something worth a line.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Notice {
    /// The first exchange with the server worked.
    Connected {
        /// Address of the server.
        url: String,
    },
    /// It can take jobs from now on.
    Listening {
        /// When.
        at: Timestamp,
    },
    /// The server does not answer; it is tried again until it does.
    ConnectionLost {
        /// Address of the server.
        url: String,
        /// Why.
        message: String,
    },
    /// The server answers again.
    ConnectionBack {
        /// Address of the server.
        url: String,
    },
    /// A job was taken.
    JobStarted {
        /// When.
        at: Timestamp,
        /// Which.
        attempt: AttemptRef,
        /// Name of the job.
        name: String,
    },
    /// A job is over.
    JobFinished {
        /// When.
        at: Timestamp,
        /// Which.
        attempt: AttemptRef,
        /// Name of the job.
        name: String,
        /// How it ended.
        conclusion: Conclusion,
    },
    /// The server took a job away from this runner.
    JobFenced {
        /// Which.
        attempt: AttemptRef,
    },
    /// An earlier process of this runner died with this job; what it left is cleaned up and reported.
    Recovered {
        /// Which.
        attempt: AttemptRef,
    },
    /// An operator began or ended draining this runner at the server.
    ServerDrains {
        /// Whether it is drained now.
        on: bool,
    },
    /// Nothing new is taken; what runs is finished.
    Draining {
        /// Jobs that run.
        jobs: usize,
    },
    /// Running jobs are cancelled.
    Cancelling {
        /// Jobs that run.
        jobs: usize,
    },
    /// Running jobs are killed.
    Killing {
        /// Jobs that run.
        jobs: usize,
    },
    /// Anything else that somebody should look at.
    Warning {
        /// In words.
        message: String,
    },
}

/// `YYYY-MM-DD HH:MM:SSZ`.
fn stamp(at: Timestamp) -> String {
    let text = at.to_string();
    match (text.get(..10), text.get(11..19)) {
        (Some(day), Some(time)) => format!("{day} {time}Z"),
        _ => text,
    }
}

fn jobs(n: usize) -> String {
    if n == 1 { "1 job".to_owned() } else { format!("{n} jobs") }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { url } => write!(f, "Connected to {url}. Runner ready to run."),
            Self::Listening { at } => write!(f, "{} Listening for jobs", stamp(*at)),
            Self::ConnectionLost { url, message } => {
                write!(f, "Connection to {url} lost: {message}. Trying again.")
            }
            Self::ConnectionBack { url } => write!(f, "Connected to {url} again."),
            Self::JobStarted { at, attempt, name } => {
                write!(f, "{} Running job {}: {name}", stamp(*at), attempt.job)
            }
            Self::JobFinished { at, attempt, name, conclusion } => {
                write!(f, "{} Job {} completed with {conclusion}: {name}", stamp(*at), attempt.job)
            }
            Self::JobFenced { attempt } => {
                write!(f, "Job {} is not this runner's any more; it is killed and discarded.", attempt.job)
            }
            Self::Recovered { attempt } => {
                write!(
                    f,
                    "Cleaned up after job {}, which an earlier process of this runner left behind.",
                    attempt.job
                )
            }
            Self::ServerDrains { on: true } => {
                f.write_str("The server drains this runner: no new jobs until that ends.")
            }
            Self::ServerDrains { on: false } => f.write_str("The server gives this runner new jobs again."),
            Self::Draining { jobs: n } => {
                write!(f, "Shutting down: no new jobs, {} to finish. A second signal cancels them.", jobs(*n))
            }
            Self::Cancelling { jobs: n } => write!(f, "Cancelling {}. A third signal kills them.", jobs(*n)),
            Self::Killing { jobs: n } => write!(f, "Killing {}.", jobs(*n)),
            Self::Warning { message } => write!(f, "warning: {message}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_that_others_look_for() {
        let at: Timestamp = "2026-11-20T18:05:09.123456Z".parse().unwrap();
        let url = "http://127.0.0.1:7878".to_owned();
        assert_eq!(
            Notice::Connected { url }.to_string(),
            "Connected to http://127.0.0.1:7878. Runner ready to run."
        );
        assert_eq!(Notice::Listening { at }.to_string(), "2026-11-20 18:05:09Z Listening for jobs");
    }
}
