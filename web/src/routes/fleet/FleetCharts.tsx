/** The fleet over time: utilisation, depth and waiting time; of everything, one queue or one label. */
import { useQuery } from '@tanstack/react-query';
import { useMemo } from 'react';
import { duration } from '../../lib/time';
import { Failed } from '../../ui/states';
import { TimeChart } from '../../ui/TimeChart';
import { beginOf, linesOf, seriesNamesQuery, seriesQuery, type Range } from './data';
import { Ranges } from './Ranges';

const whole = (value: number): string => value.toLocaleString(undefined, { maximumFractionDigits: 1 });
const lasting = (value: number): string => duration(value * 1000);
const NONE: readonly number[] = [];

/** The charts, with the choice of their range and of the queue or label that the lower ones show. */
export function FleetCharts(props: { range: Range; of: string; onRange: (range: Range) => void; onChoose: (of: string) => void }) {
  const { range, of } = props;
  const fleet = useQuery(seriesQuery('fleet', range));
  const names = useQuery(seriesNamesQuery);
  const lanes = (names.data ?? []).filter((name) => name.startsWith('queue:') || name.startsWith('label:'));
  const chosen = of !== '' ? of : (lanes.find((name) => name.startsWith('queue:')) ?? lanes[0] ?? 'queue:default');
  const lane = useQuery(seriesQuery(chosen, range));
  const slots = useMemo(() => linesOf(fleet.data, [['busy', 'in use', '--busy'], ['slots', 'there are', '--quiet']]), [fleet.data]);
  const jobs = useMemo(() => linesOf(fleet.data, [['waiting', 'waiting', '--wait'], ['running', 'running', '--ok']]), [fleet.data]);
  const depth = useMemo(() => linesOf(lane.data, [['depth', 'waiting', '--wait'], ['started', 'started', '--ok']]), [lane.data]);
  const wait = useMemo(() => linesOf(lane.data, [['wait_p50', 'half waited less than', '--busy'], ['wait_p95', '19 of 20 less than', '--bad']]), [lane.data]);
  const from = beginOf(fleet.data);
  const name = chosen.replace(':', ' ');
  if (fleet.isError) return <Failed error={fleet.error} retry={() => void fleet.refetch()} />;
  return (
    <section className="stack" aria-labelledby="over-time">
      <div className="section-head">
        <h2 id="over-time" className="grow">Over time</h2>
        <select className="input fleet-lane" aria-label="Queue or label" value={chosen} onChange={(event) => props.onChoose(event.target.value)}>
          {[...new Set([chosen, ...lanes])].map((each) => (
            <option key={each} value={each}>{each.replace(':', ' ')}</option>
          ))}
        </select>
        <Ranges range={range} onChange={props.onRange} />
      </div>
      <div className="charts">
        <TimeChart label="Slots" unit="count" at={fleet.data?.at ?? NONE} lines={slots} format={whole} from={from} />
        <TimeChart label="Jobs" unit="count" at={fleet.data?.at ?? NONE} lines={jobs} format={whole} from={from} />
        <TimeChart label={`Depth of ${name}`} unit="count" at={lane.data?.at ?? NONE} lines={depth} format={whole} from={from} />
        <TimeChart label={`Waiting time of ${name}`} unit="seconds" at={lane.data?.at ?? NONE} lines={wait} format={lasting} from={from} />
      </div>
    </section>
  );
}
