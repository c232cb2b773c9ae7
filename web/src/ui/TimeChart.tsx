/**
 * Lines over time, drawn on a canvas. The chart follows the width of its place
 * and the theme. Its legend is text: the newest values, or those under the pointer.
 */
import { useEffect, useRef, useState } from 'react';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { useTheme } from '../lib/theme';
import './time-chart.css';

/** One line. */
export interface Line {
  readonly label: string;
  /** Name of a colour token, `--accent`. */
  readonly color: string;
  /** One value for each moment; `null` where nothing was measured. */
  readonly values: readonly (number | null)[];
}

/** What the values are: it decides where the lines of the grid are. */
export type Unit = 'count' | 'share' | 'bytes' | 'seconds';

const HEIGHT = 160;
const DAY = 86_400;
const NARROWEST = 120;

/** Distances that lines of the grid may have. */
const STEPS: Record<Unit, readonly number[]> = {
  count: [1, 2, 5].flatMap((first) => Array.from({ length: 9 }, (_, power) => first * 10 ** power)).sort((a, b) => a - b),
  share: [0.25, 0.5, 1],
  bytes: Array.from({ length: 50 }, (_, power) => 2 ** power),
  seconds: [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 43_200, DAY, 7 * DAY],
};

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
const SECONDS = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const DATE = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });

/** Moments of the axis in words: as exact as their distance is. */
function moments(splits: readonly number[], distance: number): string[] {
  const format = distance >= DAY ? DATE : distance < 60 ? SECONDS : CLOCK;
  return splits.map((at) => format.format(at * 1000));
}

/** The chart. `format` writes a value. */
export function TimeChart(props: {
  label: string;
  /** Moments in seconds since the Unix epoch, ascending. */
  at: readonly number[];
  lines: readonly Line[];
  unit: Unit;
  format: (value: number) => string;
  /** Index of the first moment that is drawn. */
  from?: number;
}) {
  const place = useRef<HTMLDivElement>(null);
  const [under, setUnder] = useState<number | null>(null);
  const theme = useTheme();
  const { at, lines, format, unit, from = 0 } = props;
  const measured = at.length > 0 && lines.some((line) => line.values.some((value) => value !== null));
  useEffect(() => {
    const node = place.current;
    if (!node || !measured) return undefined;
    const chart = new uPlot(
      optionsOf({ node, lines, format, unit, onPoint: (index) => setUnder(index === null ? null : index + from) }),
      [at.slice(from), ...lines.map((line) => line.values.slice(from))],
      node,
    );
    const observer = new ResizeObserver(() => chart.setSize({ width: Math.max(node.clientWidth, NARROWEST), height: HEIGHT }));
    observer.observe(node);
    return () => {
      observer.disconnect();
      chart.destroy();
      setUnder(null);
    };
  }, [at, lines, format, unit, from, measured, theme]);
  const moment = under === null ? undefined : at[under];
  return (
    <figure className="time-chart card">
      <figcaption className="time-chart-head">
        <span className="time-chart-name">{props.label}</span>
        {moment !== undefined && <span className="time-chart-at">{SECONDS.format(moment * 1000)}</span>}
      </figcaption>
      <ul className="time-chart-legend">
        {lines.map((line) => (
          <li key={line.label}>
            <span className="time-chart-swatch" style={{ background: `var(${line.color})` }} />
            {line.label} <strong>{said(line, under, format)}</strong>
          </li>
        ))}
      </ul>
      {measured ? <div ref={place} className="time-chart-place" aria-hidden="true" /> : <p className="time-chart-none">Nothing was measured in this time yet.</p>}
    </figure>
  );
}

/** The value under the pointer, or else the newest. */
function said(line: Line, under: number | null, format: (value: number) => string): string {
  const value = under === null ? line.values.findLast((each) => each !== null) : line.values[under];
  return value == null ? '—' : format(value);
}

function optionsOf(of: {
  node: HTMLElement;
  lines: readonly Line[];
  format: (value: number) => string;
  unit: Unit;
  onPoint: (index: number | null) => void;
}): uPlot.Options {
  const { node, lines, format, unit } = of;
  const color = colorsOf(node);
  const axis = { stroke: color('--text-2'), font: `11px ${getComputedStyle(node).fontFamily}`, ticks: { show: false } };
  const grid = { stroke: color('--chart-grid'), width: 1 };
  return {
    width: Math.max(node.clientWidth, NARROWEST),
    height: HEIGHT,
    padding: [8, 18, 0, 0],
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, y: false, points: { size: 6 } },
    // A little air above, so that the highest value is no line of the frame.
    scales: { y: { range: (_, __, high) => (unit === 'share' ? [0, 1.02] : [0, Math.max(high ?? 0, 1) * 1.08]) } },
    axes: [
      { ...axis, grid: { show: false }, size: 26, gap: 6, values: (_, splits, __, ___, distance) => moments(splits, distance) },
      { ...axis, grid, size: 60, gap: 6, incrs: [...STEPS[unit]], values: (_, splits) => splits.map(format) },
    ],
    series: [
      {},
      ...lines.map((line, index) => ({
        label: line.label,
        stroke: color(line.color),
        // The first line is what the chart is about.
        ...(index === 0 ? { fill: color(line.color, 0.12) } : {}),
        width: 1.5,
        points: { show: false },
      })),
    ],
    hooks: { setCursor: [(plot) => of.onPoint(plot.cursor.idx ?? null)] },
  };
}

/** Colours of tokens as a canvas understands them: it knows neither variables nor light-dark(). */
function colorsOf(node: HTMLElement): (token: string, alpha?: number) => string {
  return (token, alpha) => {
    const probe = document.createElement('span');
    probe.style.color = alpha === undefined ? `var(${token})` : `color-mix(in srgb, var(${token}) ${alpha * 100}%, transparent)`;
    node.append(probe);
    const color = getComputedStyle(probe).color;
    probe.remove();
    return color;
  };
}
