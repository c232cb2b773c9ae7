/** Markdown as elements. Text becomes text nodes; links leave the site without telling where from. */
import { Fragment, useMemo, type ReactNode } from 'react';
import { markdown, type Block, type Inline } from '../lib/markdown';
import './markdown.css';

/** The rendered text. Headings begin below those of the page. */
export function Markdown({ text }: { text: string }) {
  const blocks = useMemo(() => markdown(text), [text]);
  return <div className="markdown">{blocks.map(blockAt)}</div>;
}

function blockAt(block: Block, key: number): ReactNode {
  switch (block.kind) {
    case 'heading': {
      const Level = (['h3', 'h4', 'h5', 'h6', 'h6', 'h6'] as const)[block.level - 1] ?? 'h6';
      return <Level key={key}>{inlines(block.children)}</Level>;
    }
    case 'paragraph':
      return <p key={key}>{inlines(block.children)}</p>;
    case 'code':
      return (
        <pre key={key} tabIndex={0}>
          <code>{block.text}</code>
        </pre>
      );
    case 'quote':
      return <blockquote key={key}>{block.blocks.map(blockAt)}</blockquote>;
    case 'rule':
      return <hr key={key} />;
    case 'list': {
      const items = block.items.map((item, index) => (
        <li key={index} className={item.done === null ? undefined : 'task'}>
          {item.done !== null && <input type="checkbox" checked={item.done} disabled aria-label={item.done ? 'Done' : 'To do'} readOnly />}
          {item.blocks.map((inner, at) => (inner.kind === 'paragraph' ? <Fragment key={at}>{inlines(inner.children)}</Fragment> : blockAt(inner, at)))}
        </li>
      ));
      return block.ordered ? <ol key={key} start={block.start}>{items}</ol> : <ul key={key}>{items}</ul>;
    }
    case 'table':
      return (
        <div key={key} className="markdown-table" tabIndex={0} role="group" aria-label="Table">
          <table>
            <thead>
              <tr>{block.head.map((cell, at) => <th key={at} scope="col" style={{ textAlign: block.align[at] ?? 'left' }}>{inlines(cell)}</th>)}</tr>
            </thead>
            <tbody>
              {block.rows.map((row, at) => (
                <tr key={at}>{row.map((cell, column) => <td key={column} style={{ textAlign: block.align[column] ?? 'left' }}>{inlines(cell)}</td>)}</tr>
              ))}
            </tbody>
          </table>
        </div>
      );
  }
}

function inlines(pieces: readonly Inline[]): ReactNode {
  return pieces.map((piece, key) => {
    switch (piece.kind) {
      case 'text':
        return piece.text;
      case 'code':
        return <code key={key}>{piece.text}</code>;
      case 'break':
        return <br key={key} />;
      case 'strong':
        return <strong key={key}>{inlines(piece.children)}</strong>;
      case 'emphasis':
        return <em key={key}>{inlines(piece.children)}</em>;
      case 'deleted':
        return <del key={key}>{inlines(piece.children)}</del>;
      case 'link':
        return (
          <a key={key} href={piece.href} target="_blank" rel="noopener noreferrer nofollow">
            {inlines(piece.children)}
          </a>
        );
    }
  });
}
