/** Names for the types of the API that pages use. Everything else is in `schema.gen.ts`. */
export type {
  Annotation, ApprovalView, ArtifactView, AttemptView, Candidate, Conclusion, Diagnostic, JobCounts, JobView, ListChange,
  NearRunner, Problem, Reason, RepositoryView, RunFacets, RunReport, RunView, RunnerState, RunnerView, Status, StepReport,
  Why, WhyReason, WorkflowInput, WorkflowList, WorkflowView,
} from './schema.gen';
