/**
 * Lines over time, drawn on a canvas. The chart follows the width of its place
 * and the theme; readers get its newest values as a table.
 */
import { useEffect, useRef } from 'react';
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

const HEIGHT = 180;

/** The chart. `format` writes a value of the vertical axis. */
export function TimeChart(props: {
  label: string;
  /** Moments in seconds since the Unix epoch, ascending. */
  at: readonly number[];
  lines: readonly Line[];
  format: (value: number) => string;
  /** Highest value of the axis, where it is known (1 for shares). */
  top?: number;
}) {
  const place = useRef<HTMLDivElement>(null);
  const theme = useTheme();
  const { at, lines, format, top } = props;
  useEffect(() => {
    const node = place.current;
    if (!node || at.length === 0) return undefined;
    const style = getComputedStyle(node);
    const color = (token: string): string => style.getPropertyValue(token).trim() || style.color;
    const axis = { stroke: style.color, grid: { stroke: color('--chart-grid'), width: 1 }, ticks: { stroke: color('--chart-grid'), width: 1 } };
    const chart = new uPlot(
      {
        width: Math.max(node.clientWidth, 120),
        height: HEIGHT,
        legend: { live: true },
        cursor: { drag: { x: false, y: false } },
        scales: { y: { range: (_, low, high) => [Math.min(0, low ?? 0), top ?? Math.max(high ?? 0, 1)] } },
        axes: [axis, { ...axis, size: 64, values: (_, splits) => splits.map(format) }],
        series: [
          {},
          ...lines.map((line) => ({
            label: line.label,
            stroke: color(line.color),
            width: 1.5,
            points: { show: false },
            value: (_: uPlot, value: number | null) => (value == null ? '—' : format(value)),
          })),
        ],
      },
      [[...at], ...lines.map((line) => [...line.values])],
      node,
    );
    const observer = new ResizeObserver(() => chart.setSize({ width: Math.max(node.clientWidth, 120), height: HEIGHT }));
    observer.observe(node);
    return () => {
      observer.disconnect();
      chart.destroy();
    };
  }, [at, lines, format, top, theme]);
  return (
    <figure className="time-chart card">
      <figcaption>{props.label}</figcaption>
      {at.length === 0 ? <p className="muted time-chart-none">Nothing was measured in this time.</p> : <div ref={place} aria-hidden="true" />}
      <Newest lines={lines} format={format} />
    </figure>
  );
}

/** The newest values, for people who cannot see the lines. */
function Newest({ lines, format }: { lines: readonly Line[]; format: (value: number) => string }) {
  const newest = (line: Line): number | undefined => line.values.findLast((value) => value !== null) ?? undefined;
  return (
    <ul className="visually-hidden">
      {lines.map((line) => {
        const value = newest(line);
        return (
          <li key={line.label}>
            {line.label}: {value === undefined ? 'nothing measured' : format(value)}
          </li>
        );
      })}
    </ul>
  );
}
