/** The fleet over time: utilisation, depth and waiting time; of everything, one queue or one label. */
import { useQuery } from '@tanstack/react-query';
import { useMemo } from 'react';
import { duration } from '../../lib/time';
import { Choice } from '../../ui/form';
import { Failed } from '../../ui/states';
import { TimeChart } from '../../ui/TimeChart';
import { linesOf, seriesNamesQuery, seriesQuery, type Range } from './data';

const whole = (value: number): string => value.toLocaleString(undefined, { maximumFractionDigits: 1 });
const lasting = (value: number): string => duration(value * 1000);
const NONE: readonly number[] = [];

/** The charts. */
export function FleetCharts({ range, of, onChoose }: { range: Range; of: string; onChoose: (of: string) => void }) {
  const fleet = useQuery(seriesQuery('fleet', range));
  const names = useQuery(seriesNamesQuery);
  const lanes = (names.data ?? []).filter((name) => name.startsWith('queue:') || name.startsWith('label:'));
  const chosen = of !== 'fleet' && of !== '' ? of : (lanes[0] ?? 'queue:default');
  const lane = useQuery(seriesQuery(chosen, range));
  const slots = useMemo(() => linesOf(fleet.data, [['busy', 'in use', '--busy'], ['slots', 'slots', '--quiet']]), [fleet.data]);
  const jobs = useMemo(() => linesOf(fleet.data, [['waiting', 'waiting', '--wait'], ['running', 'running', '--ok']]), [fleet.data]);
  const depth = useMemo(() => linesOf(lane.data, [['depth', 'waiting', '--wait'], ['started', 'started', '--ok']]), [lane.data]);
  const wait = useMemo(() => linesOf(lane.data, [['wait_p50', 'half waited less', '--busy'], ['wait_p95', '19 of 20 waited less', '--bad']]), [lane.data]);
  if (fleet.isError) return <Failed error={fleet.error} retry={() => void fleet.refetch()} />;
  return (
    <>
      <div className="charts">
        <TimeChart label="Slots" at={fleet.data?.at ?? NONE} lines={slots} format={whole} />
        <TimeChart label="Jobs" at={fleet.data?.at ?? NONE} lines={jobs} format={whole} />
      </div>
      <div className="fleet-lane">
        <Choice
          label="Queue or label"
          name="lane"
          value={chosen}
          onChange={onChoose}
          choices={[...new Set([chosen, ...lanes])].map((name) => ({ value: name, label: name.replace(':', ' ') }))}
        />
      </div>
      <div className="charts">
        <TimeChart label={`Depth of ${chosen.replace(':', ' ')}`} at={lane.data?.at ?? NONE} lines={depth} format={whole} />
        <TimeChart label={`Waiting time of ${chosen.replace(':', ' ')}`} at={lane.data?.at ?? NONE} lines={wait} format={lasting} />
      </div>
    </>
  );
}
