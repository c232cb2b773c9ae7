/** Where the nodes of a graph are drawn. Loaded only when a graph is looked at. */
import { Graph, layout } from '@dagrejs/dagre';
import { directNeeds, type GraphNode } from './graph';

/** Size of a node, pixels. */
export interface Size {
  readonly width: number;
  readonly height: number;
}

interface Point {
  readonly x: number;
  readonly y: number;
}

/** A drawing: its size, the upper left corners of nodes, and the lines between them. */
export interface Drawing extends Size {
  readonly places: ReadonlyMap<string, Point>;
  readonly lines: readonly { readonly from: string; readonly to: string; readonly path: string }[];
}

/** Lays a graph out from left to right. */
export function draw(nodes: readonly GraphNode[], sizeOf: (node: GraphNode) => Size): Drawing {
  const graph = new Graph({ multigraph: false });
  graph.setGraph({ rankdir: 'LR', nodesep: 18, ranksep: 44, marginx: 2, marginy: 2 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const node of nodes) graph.setNode(node.key, { ...sizeOf(node) });
  for (const [key, needs] of directNeeds(nodes)) for (const need of needs) graph.setEdge(need, key);
  layout(graph);
  const places = new Map<string, Point>();
  for (const node of nodes) {
    const at = graph.node(node.key) as Point & Size;
    places.set(node.key, { x: at.x - at.width / 2, y: at.y - at.height / 2 });
  }
  const lines = graph.edges().map(({ v, w }) => {
    const { points } = graph.edge({ v, w }) as { points: Point[] };
    // Lines leave a node in the middle of its right side and arrive in the middle of the left one.
    const begin = graph.node(v) as Point & Size;
    const end = graph.node(w) as Point & Size;
    const between = points.slice(1, -1).filter((point) => point.x > begin.x + begin.width / 2 && point.x < end.x - end.width / 2);
    const path = curve([{ x: begin.x + begin.width / 2, y: begin.y }, ...(between.length > 1 ? between : []), { x: end.x - end.width / 2, y: end.y }]);
    return { from: v, to: w, path };
  });
  const { width, height } = graph.graph() as Size;
  return { width: Math.ceil(width), height: Math.ceil(height), places, lines };
}

/** A line through the points that leaves and arrives level. */
function curve(points: readonly Point[]): string {
  return points
    .map(({ x, y }, index) => {
      const before = points[index - 1];
      if (!before) return `M${x} ${y}`;
      const middle = (before.x + x) / 2;
      return `C${middle} ${before.y} ${middle} ${y} ${x} ${y}`;
    })
    .join('');
}
