//! `needs`: every job that is needed exists, nothing waits for itself, and
//! something can begin.

use super::Job;
use crate::source::{Report, clip, nearest};
use std::collections::{HashMap, HashSet};

/// Checks the graph and writes the keys of needs as the jobs define them.
pub(super) fn check(report: &mut Report<'_>, jobs_at: usize, known: &[&str], jobs: &mut [Job]) {
    let defined: HashMap<String, &str> = known.iter().map(|key| (key.to_lowercase(), *key)).collect();
    let mut complete = true;
    for job in jobs.iter_mut() {
        let mut seen = HashSet::new();
        job.needs.retain(|need| seen.insert(need.key.to_lowercase()));
        for need in &mut job.needs {
            if let Some(key) = defined.get(&need.key.to_lowercase()) {
                need.key = (*key).to_owned();
                continue;
            }
            complete = false;
            if report.is_full() {
                continue;
            }
            let message =
                format!("Job '{}' depends on unknown job '{}'.", clip(&job.key, 100), clip(&need.key, 100));
            let hint =
                nearest(&need.key, known.iter().copied()).map(|word| format!("Did you mean '{word}'?"));
            report.error(need.at, "unknown-job", message).hint = hint;
        }
    }
    if !complete || jobs.len() < known.len() || jobs.is_empty() {
        return;
    }
    if jobs.iter().all(|job| !job.needs.is_empty()) {
        report.error(
            jobs_at,
            "no-first-job",
            "The workflow must contain at least one job with no dependencies.",
        );
    }
    report_cycles(report, jobs);
}

/// Takes away what can run until nothing changes; what is left contains the cycles.
fn report_cycles(report: &mut Report<'_>, jobs: &[Job]) {
    let index: HashMap<&str, usize> = jobs.iter().enumerate().map(|(i, job)| (job.key.as_str(), i)).collect();
    let needs: Vec<Vec<usize>> = jobs
        .iter()
        .map(|job| job.needs.iter().filter_map(|n| index.get(n.key.as_str()).copied()).collect())
        .collect();
    let mut dependents = vec![Vec::new(); jobs.len()];
    let mut waiting: Vec<usize> = needs.iter().map(Vec::len).collect();
    for (i, list) in needs.iter().enumerate() {
        list.iter().for_each(|n| dependents[*n].push(i));
    }
    let mut ready: Vec<usize> = (0..jobs.len()).filter(|i| waiting[*i] == 0).collect();
    while let Some(done) = ready.pop() {
        for i in &dependents[done] {
            waiting[*i] -= 1;
            if waiting[*i] == 0 {
                ready.push(*i);
            }
        }
    }
    // Everything left waits for something left: following it must come back.
    let mut visited = vec![false; jobs.len()];
    for start in 0..jobs.len() {
        let mut path = Vec::new();
        let mut at = start;
        while waiting[at] > 0 && !visited[at] {
            visited[at] = true;
            path.push(at);
            match needs[at].iter().find(|n| waiting[**n] > 0) {
                Some(next) => at = *next,
                None => break,
            }
        }
        if let Some(begin) = path.iter().position(|i| *i == at) {
            report_cycle(report, jobs, &path[begin..]);
        }
    }
}

fn report_cycle(report: &mut Report<'_>, jobs: &[Job], cycle: &[usize]) {
    let names: Vec<&str> = cycle.iter().chain(cycle.first()).map(|i| jobs[*i].key.as_str()).collect();
    let path = clip(&names.join(" -> "), 500);
    for (job, need) in cycle.iter().zip(cycle.iter().cycle().skip(1)) {
        let (job, need) = (&jobs[*job], &jobs[*need].key);
        let at = job.needs.iter().find(|n| n.key == *need).map_or(job.at, |n| n.at);
        let message = format!(
            "Job '{}' depends on job '{need}' which creates a cycle in the dependency graph.",
            job.key
        );
        report.error(at, "needs-cycle", message).hint = Some(format!("The cycle is {path}"));
    }
}
