/** Names for the types of the API that pages use. Everything else is in `schema.gen.ts`. */
import type * as schema from './schema.gen';

export type {
  Annotation, ApprovalView, ArtifactView, Conclusion, Diagnostic, NearRunner, Problem, Reason,
  RepositoryView, RunnerState, Status, StepReport, WhyReason,
} from './schema.gen';

export interface JobCounts {
  total: number; waiting: number; queued: number; running: number; success: number; failure: number;
  cancelled: number; skipped: number; timed_out: number;
}
export type RunView = Omit<schema.RunView, 'jobs'> & {
  sha?: string | null; job_counts?: JobCounts | null; inputs?: Record<string, unknown>; cancel_requested?: boolean;
  jobs?: JobView[] | null;
};
export type JobView = Omit<schema.JobView, 'attempts'> & { matrix?: unknown; attempts?: AttemptView[] | null };
export type AttemptView = schema.AttemptView & { started_at?: string | null };
export type RunnerView = schema.RunnerView & { version_too_far?: boolean };
export interface Candidate {
  runner: number; name: string; state: schema.RunnerState;
  lacks: { kind: 'queue' | 'labels' | 'boundary' | 'limits' | 'version' | 'error' | 'draining' | 'offline' | 'busy'; words: string[] }[];
}
export type Why = schema.Why & { nearest?: Candidate[] };
export interface RunFacets {
  kinds: string[]; projects: string[]; workflows: string[]; branches: string[]; actors: string[];
  events: string[]; labels: string[]; runners: string[]; truncated: boolean;
}
export interface RunReport {
  annotations: { job: number; job_name: string; annotation: schema.Annotation }[];
  summaries: { job: number; job_name: string; step: number; text: string }[];
  truncated: boolean;
}
export interface WorkflowInput {
  name: string; description: string; type: string; required: boolean; default?: unknown; options?: string[];
}
export interface WorkflowView { name: string; path: string; dispatch: boolean; inputs: WorkflowInput[]; error?: string | null }
export interface WorkflowList { ref: string; sha: string; workflows: WorkflowView[] }
export type ListChange =
  | { change: 'run'; run: RunView }
  | { change: 'run_deleted'; id: number }
  | { change: 'runner'; runner: RunnerView }
  | { change: 'runner_deleted'; id: number }
  | { change: 'approvals'; waiting: number }
  | { change: 'reset' };
