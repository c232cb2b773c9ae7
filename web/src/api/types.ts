/** Names for the types of the API that pages use. Everything else is in `schema.gen.ts`. */
export type {
  Annotation, ApprovalView, ArtifactView, AttemptView, Conclusion, Diagnostic, JobView, Problem, Reason,
  RepositoryView, RunView, RunnerState, RunnerView, Status, StepReport, Why, WhyReason,
} from './schema.gen';
