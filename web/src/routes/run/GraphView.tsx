/** The drawing of a graph: nodes are links, lines are decoration. What needs what is also told in words. */
import { Link } from '@tanstack/react-router';
import { useMemo } from 'react';
import { standing, StatusIcon } from '../../ui/Status';
import { Lasted } from '../../ui/Time';
import type { GraphNode } from './graph';
import { legName } from './JobList';
import { draw, type Size } from './layout';

const WIDTH = 208;
const PLAIN = 46;
const HEAD = 34;
/** Small targets need this much room to be hit. */
const DOT = 24;
const DOTS_IN_LINE = 7;
/** Legs that are drawn; the others are counted. */
const MOST_DOTS = 34;

function sizeOf(node: GraphNode): Size {
  if (node.legs.length === 1) return { width: WIDTH, height: PLAIN };
  const dots = Math.min(node.legs.length, MOST_DOTS + 1);
  return { width: WIDTH, height: HEAD + Math.ceil(dots / DOTS_IN_LINE) * DOT + 8 };
}

/** The drawing. */
export default function GraphView({ nodes }: { nodes: readonly GraphNode[] }) {
  // The layout depends on names and needs alone: it must not move when a job ends.
  const shape = nodes.map((node) => `${node.key}:${node.legs.length}:${node.needs.join()}`).join('|');
  const drawing = useMemo(() => draw(nodes, sizeOf), [shape]);
  return (
    <div className="graph" tabIndex={0} role="group" aria-label="Graph of the jobs">
      <div className="graph-sheet" style={{ width: drawing.width, height: drawing.height }}>
        <svg className="graph-lines" width={drawing.width} height={drawing.height} aria-hidden="true">
          {drawing.lines.map((line) => (
            <path key={`${line.from} ${line.to}`} d={line.path} />
          ))}
        </svg>
        {nodes.map((node) => {
          const place = drawing.places.get(node.key);
          return place ? <Node key={node.key} node={node} x={place.x} y={place.y} /> : null;
        })}
      </div>
    </div>
  );
}

function Node({ node, x, y }: { node: GraphNode; x: number; y: number }) {
  const style = { left: x, top: y, ...sizeOf(node) };
  const only = node.legs.length === 1 ? node.legs[0] : undefined;
  const needs = node.needs.length > 0 && <span className="visually-hidden">, needs {node.needs.join(', ')}</span>;
  if (only) {
    return (
      <Link
        to="/runs/$run/jobs/$job"
        params={{ run: String(only.run), job: String(only.id) }}
        className={`graph-node graph-plain edge-${node.standing.tone}`}
        style={style}
        title={only.name}
      >
        <StatusIcon of={node.standing} />
        <span className="grow cut">{node.name}</span>
        {needs}
        <span className="muted job-time">
          <Lasted from={only.started_at ?? null} to={only.finished_at ?? (only.status === 'completed' ? (only.started_at ?? null) : null)} />
        </span>
      </Link>
    );
  }
  const done = node.legs.filter((leg) => leg.status === 'completed').length;
  return (
    <div className={`graph-node edge-${node.standing.tone}`} style={style} role="group" aria-label={`${node.name}, ${node.legs.length} jobs`}>
      <p className="graph-head">
        <StatusIcon of={node.standing} />
        <span className="grow cut" title={node.name}>
          {node.name}
        </span>
        {needs}
        <span className="muted">
          {done}/{node.legs.length}
        </span>
      </p>
      <ul className="graph-dots">
        {node.legs.slice(0, MOST_DOTS).map((leg) => {
          const is = standing(leg);
          const label = `${legName(leg.name, node.name)}: ${is.word.toLowerCase()}`;
          return (
            <li key={leg.id}>
              <Link to="/runs/$run/jobs/$job" params={{ run: String(leg.run), job: String(leg.id) }} className={`graph-dot fill-${is.tone}`} title={label} aria-label={label}>
                <StatusIcon of={is} silent />
              </Link>
            </li>
          );
        })}
        {node.legs.length > MOST_DOTS && <li className="muted">+{node.legs.length - MOST_DOTS}</li>}
      </ul>
    </div>
  );
}
