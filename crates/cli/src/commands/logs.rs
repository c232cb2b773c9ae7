//! `logs`: the bytes that steps wrote, exactly; with times, by step, or of
//! everything that failed when asked for.

use crate::connect::ServerArgs;
use crate::error::{CliError, Exit, Result};
use crate::live::{Outage, Piece};
use crate::output::{self, Format};
use clap::Args;
use fleetfoot_client::Client;
use fleetfoot_model::api::JobView;
use fleetfoot_model::{AttemptNumber, JobId, RunId};
use std::fs::File;
use std::io::Write;
use std::time::Duration;

/// Bytes asked for at once: large enough for full speed, small enough to start at once.
const PAGE: u64 = 8 << 20;

/// Print the log of a job as its steps wrote it
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot logs 42\n  fleetfoot logs 42 --follow\n  \
    fleetfoot logs 42 --timestamps --step 3\n  fleetfoot logs --run 12 --failed")]
pub(crate) struct LogsArgs {
    /// The job (`submit` and `show` print its number)
    #[arg(required_unless_present = "run")]
    job: Option<JobId>,
    /// Every job of this run, one after the other
    #[arg(long, value_name = "RUN", conflicts_with = "job")]
    run: Option<RunId>,
    /// This try of the job [default: the last]
    #[arg(long, value_name = "N", conflicts_with = "run")]
    attempt: Option<AttemptNumber>,
    /// Go on until the job has ended
    #[arg(long, short)]
    follow: bool,
    /// Put the time before every line
    #[arg(long, short)]
    timestamps: bool,
    /// Only this step, counted from 1 as `show` lists them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    step: Option<u16>,
    /// Only jobs and steps that failed
    #[arg(long)]
    failed: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn run(args: LogsArgs, format: Format) -> Result {
    if format == Format::Json && !args.timestamps {
        output::say("note: a log is bytes; --output json gives one JSON object a line of the log");
    }
    let client = args.server.client()?;
    let jobs = match (args.job, args.run) {
        (Some(job), _) => vec![find_job(&client, job).await?],
        (None, Some(run)) => client.run(run).await?.jobs.unwrap_or_default(),
        (None, None) => Vec::new(),
    };
    let mut out = output::raw_stdout()?;
    let several = jobs.len() > 1;
    for job in jobs {
        if args.failed && job.conclusion.is_none_or(|c| c.is_ok()) {
            continue;
        }
        if several {
            output::say(&format!("==> job {} {} <==", job.id, crate::style::printable(&job.name)));
        }
        print_job(&client, &job, &args, format, &mut out).await?;
    }
    Ok(Exit::Ok)
}

/// A run's number where a job's belongs is the likeliest mistake.
async fn find_job(client: &Client, id: JobId) -> Result<JobView> {
    match client.job(id).await {
        Ok(job) => Ok(job),
        Err(error) => {
            let missing = error.code() == Some(fleetfoot_model::Code::NotFound);
            let out = CliError::from(error);
            if missing && client.run(RunId(id.0)).await.is_ok() {
                return Err(out
                    .hint(format!("{id} is the number of a run"))
                    .next(format!("fleetfoot logs --run {id}")));
            }
            Err(out)
        }
    }
}

async fn print_job(
    client: &Client,
    job: &JobView,
    args: &LogsArgs,
    format: Format,
    out: &mut File,
) -> Result<()> {
    let attempt = args.attempt.or(job.attempt);
    if attempt.is_none() && !args.follow {
        match job.conclusion {
            Some(end) => output::say(&format!("job {} never started, so it has no log: {end}", job.id)),
            None => output::say(&format!(
                "job {} has not started; it is {}\n  next: `fleetfoot why {}`",
                job.id, job.status, job.id
            )),
        }
        return Ok(());
    }
    let steps: Option<Vec<u16>> = if let Some(step) = args.step {
        Some(vec![step - 1])
    } else if args.failed {
        let failed = job.steps.iter().filter(|s| s.conclusion.is_some_and(|c| !c.is_ok()));
        Some(failed.map(|s| s.index).collect::<Vec<_>>()).filter(|s| !s.is_empty())
    } else {
        None
    };
    if args.timestamps || steps.is_some() || format == Format::Json {
        return print_marked(client, job.id, attempt, args, steps.as_deref(), format, out).await;
    }
    // In bulk up to the end, then as a stream: base64 in events is for the trickle.
    let mut offset = 0;
    if attempt.is_some() {
        loop {
            let piece = client.job_log(job.id, attempt, offset, Some(PAGE)).await?;
            out.write_all(&piece.bytes).map_err(output::failed)?;
            offset = piece.offset + piece.bytes.len() as u64;
            let at_end = offset >= piece.end || piece.bytes.is_empty();
            if at_end && (piece.closed || !args.follow) {
                return Ok(());
            }
            if at_end {
                break;
            }
        }
    }
    let mut follow = client.follow_log(job.id, attempt, offset).with_patience(Duration::ZERO);
    let mut outage = Outage::default();
    loop {
        match follow.next().await {
            Ok(Some(chunk)) => {
                outage.over(client.server());
                out.write_all(&chunk.bytes).map_err(output::failed)?;
            }
            Ok(None) => return Ok(()),
            Err(error) => outage.failed(client.server(), error).await?,
        }
    }
}

/// Through the event stream, which says for every byte when it was read, on which stream, by which step.
async fn print_marked(
    client: &Client,
    job: JobId,
    attempt: Option<AttemptNumber>,
    args: &LogsArgs,
    steps: Option<&[u16]>,
    format: Format,
    out: &mut File,
) -> Result<()> {
    let end = if args.follow { u64::MAX } else { client.job_log(job, attempt, 0, Some(0)).await?.end };
    let mut follow = client.follow_log(job, attempt, 0).with_patience(Duration::ZERO);
    let mut outage = Outage::default();
    let mut lines = Lines::new(args.timestamps, format);
    while follow.offset() < end {
        let chunk = match follow.next().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(error) => {
                outage.failed(client.server(), error).await?;
                continue;
            }
        };
        outage.over(client.server());
        let piece = Piece { offset: chunk.offset, marks: chunk.marks, bytes: chunk.bytes };
        let mut text = Vec::with_capacity(piece.bytes.len() * 2);
        lines.take(&piece, steps, &mut text);
        out.write_all(&text).map_err(output::failed)?;
    }
    let mut text = Vec::new();
    lines.end(&mut text);
    out.write_all(&text).map_err(output::failed)
}

/// Cuts marked bytes into lines.
struct Lines {
    timestamps: bool,
    format: Format,
    /// The unfinished line, with the mark of its first byte.
    partial: Vec<u8>,
    mark: Option<fleetfoot_model::logs::Mark>,
}

impl Lines {
    fn new(timestamps: bool, format: Format) -> Self {
        Self { timestamps, format, partial: Vec::new(), mark: None }
    }

    fn take(&mut self, piece: &Piece, steps: Option<&[u16]>, out: &mut Vec<u8>) {
        for (i, mark) in piece.marks.iter().enumerate() {
            let begin = mark.offset.saturating_sub(piece.offset);
            let end = piece.marks.get(i + 1).map_or(piece.bytes.len() as u64, |m| m.offset - piece.offset);
            let range = usize::try_from(begin).unwrap_or(0)..usize::try_from(end).unwrap_or(0);
            let Some(bytes) = piece.bytes.get(range) else { continue };
            if steps.is_some_and(|s| !s.contains(&mark.step)) {
                continue;
            }
            if !self.timestamps && self.format == Format::Text {
                out.extend_from_slice(bytes);
                continue;
            }
            let mut rest = bytes;
            while let Some(at) = rest.iter().position(|b| *b == b'\n') {
                self.mark.get_or_insert(*mark);
                self.partial.extend_from_slice(&rest[..=at]);
                self.flush(out);
                rest = &rest[at + 1..];
            }
            if !rest.is_empty() {
                self.mark.get_or_insert(*mark);
                self.partial.extend_from_slice(rest);
            }
        }
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        let Some(mark) = self.mark.take() else { return };
        if self.format == Format::Text {
            out.extend_from_slice(format!("{} ", mark.time).as_bytes());
            out.append(&mut self.partial);
            return;
        }
        let text = String::from_utf8_lossy(&self.partial);
        let line = serde_json::json!({
            "time": mark.time, "step": mark.step + 1, "stream": mark.stream, "text": text.strip_suffix('\n').unwrap_or(&text),
        });
        out.extend_from_slice(line.to_string().as_bytes());
        out.push(b'\n');
        self.partial.clear();
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.flush(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use fleetfoot_model::Timestamp;
    use fleetfoot_model::logs::{Mark, Stream};

    fn piece(offset: u64, parts: &[(u16, &str)]) -> Piece {
        let (mut marks, mut bytes) = (Vec::new(), Vec::new());
        for (step, text) in parts {
            let at = offset + bytes.len() as u64;
            marks.push(Mark {
                offset: at,
                time: Timestamp::from_micros(at.cast_signed()),
                step: *step,
                stream: Stream::Stdout,
            });
            bytes.extend_from_slice(text.as_bytes());
        }
        Piece { offset, marks, bytes: Bytes::from(bytes) }
    }

    fn shown(timestamps: bool, format: Format, steps: Option<&[u16]>) -> String {
        let mut lines = Lines::new(timestamps, format);
        let mut out = Vec::new();
        lines.take(&piece(0, &[(0, "one\ntw"), (1, "err\n")]), steps, &mut out);
        lines.take(&piece(10, &[(0, "o\nthree")]), steps, &mut out);
        lines.end(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_step_alone_is_its_bytes() {
        assert_eq!(shown(false, Format::Text, Some(&[0])), "one\ntwo\nthree");
        assert_eq!(shown(false, Format::Text, Some(&[1])), "err\n");
    }

    #[test]
    fn times_stand_before_lines() {
        insta::assert_snapshot!(shown(true, Format::Text, Some(&[0])), @r"
        1970-01-01T00:00:00.000000Z one
        1970-01-01T00:00:00.000000Z two
        1970-01-01T00:00:00.000010Z three
        ");
        insta::assert_snapshot!(shown(false, Format::Json, Some(&[1])), @r#"{"time":"1970-01-01T00:00:00.000006Z","step":2,"stream":"stdout","text":"err"}"#);
    }
}
