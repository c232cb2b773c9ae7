/**
 * The log of a job: live from its first line, folded by steps and groups, searched at the
 * server. Only rows on screen (and a margin) are fetched and drawn. Here a log is opened; what
 * it knows lives in `model.ts`, how it is looked at in `viewing.ts`, and `LogReady.tsx` draws it.
 */
import { useQuery } from '@tanstack/react-query';
import { useEffect, useState, useSyncExternalStore } from 'react';
import { send } from '../api/client';
import type { JobView, StepReport } from '../api/types';
import { Failed, Loading } from '../ui/states';
import { type LineRange, parseHash } from './hash';
import { LogReady } from './LogReady';
import { LogModel } from './model';
import { LogSource } from './wire';
import './log.css';

/** What a log view shows. */
export interface LogViewProps {
  /** The job. */
  readonly jobId: number;
  /** Which attempt; the current or last one if absent. */
  readonly attempt?: number;
  /** Index of the step that failed: it is opened first. */
  readonly failedStep?: number;
  /** Lines to show (`#L10-L20`); those of the address of the page if absent. */
  readonly lineHash?: string;
  /** Reports of the steps, for their names; asked for at the server if absent. */
  readonly steps?: readonly StepReport[];
}

/** The log of one attempt. */
export function LogView(props: LogViewProps) {
  const { jobId, attempt } = props;
  const [opened, setOpened] = useState<{ model: LogModel; source: LogSource; picked: LineRange | undefined }>();
  useEffect(() => {
    const source = new LogSource(jobId, attempt);
    const model = new LogModel(source);
    const picked = parseHash(props.lineHash ?? location.hash);
    model.start(picked === undefined ? undefined : picked.from - 1);
    setOpened({ model, source, picked });
    return () => model.stop();
    // A changed hash moves inside the log that is open.
  }, [jobId, attempt]);
  if (opened === undefined) return <section className="log" aria-label="Log" aria-busy="true" />;
  return <Opened key={`${jobId}/${attempt ?? ''}`} {...props} {...opened} />;
}

/** A log whose first lines may be there. */
export interface OpenedProps extends LogViewProps {
  readonly model: LogModel;
  readonly source: LogSource;
  readonly picked: LineRange | undefined;
}

function useSteps(props: LogViewProps, complete: boolean, seen: number): readonly StepReport[] {
  const asked = useQuery({
    queryKey: ['log-steps', props.jobId, complete, seen],
    queryFn: async () => (await (await send(`/api/v1/jobs/${props.jobId}`)).json()) as JobView,
    enabled: props.steps === undefined,
    refetchInterval: complete ? false : 5_000,
    placeholderData: (before) => before,
  });
  return props.steps ?? asked.data?.steps ?? NO_STEPS;
}
const NO_STEPS: readonly StepReport[] = [];

function Opened(props: OpenedProps) {
  const { model } = props;
  const snapshot = useSyncExternalStore(model.subscribe, model.snapshot);
  const steps = useSteps(props, snapshot.complete, snapshot.outline.steps.length);
  if (!snapshot.ready) {
    return (
      <section className="log" aria-label="Log" aria-busy="true">
        <div className="log-frame">
          <div className="log-blank">
            {snapshot.failure === undefined ? <Loading what="Opening the log" /> : <Failed error={snapshot.failure} />}
          </div>
        </div>
      </section>
    );
  }
  return <LogReady {...props} steps={steps} />;
}
