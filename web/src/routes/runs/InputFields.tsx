/** A form made of the inputs that a workflow declares. */
import type { WorkflowInput } from '../../api/types';

/** What the form says, as the API takes it. Inputs left empty are left out, so that defaults apply. */
export function valuesOf(inputs: readonly WorkflowInput[], form: FormData): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const input of inputs) {
    const field = form.get(`input-${input.name}`);
    if (input.type === 'boolean') values[input.name] = field !== null;
    else if (typeof field === 'string' && field !== '') values[input.name] = input.type === 'number' ? Number(field) : field;
  }
  return values;
}

/** The fields. */
export function InputFields({ inputs }: { inputs: readonly WorkflowInput[] }) {
  if (inputs.length === 0) return <p className="muted">This workflow takes no inputs.</p>;
  return (
    <fieldset className="stack">
      <legend className="visually-hidden">Inputs</legend>
      {inputs.map((input) => (
        <Field key={input.name} input={input} />
      ))}
    </fieldset>
  );
}

function Field({ input }: { input: WorkflowInput }) {
  const id = `input-${input.name}`;
  const help = input.description !== '' && (
    <span id={`${id}-help`} className="help">
      {input.description}
    </span>
  );
  const described = input.description === '' ? {} : { 'aria-describedby': `${id}-help` };
  const preset = input.default == null ? '' : String(input.default);
  if (input.type === 'boolean') {
    return (
      <div className="field">
        <span className="row">
          <input type="checkbox" id={id} name={id} defaultChecked={preset === 'true'} {...described} />
          <label htmlFor={id}>{input.name}</label>
        </span>
        {help}
      </div>
    );
  }
  const label = (
    <label htmlFor={id}>
      {input.name}
      {input.required && <span className="muted"> (required)</span>}
    </label>
  );
  if (input.type === 'choice') {
    return (
      <div className="field">
        {label}
        <select id={id} name={id} className="input" defaultValue={preset} required={input.required} {...described}>
          {!input.required && !input.options?.includes(preset) && <option value="">–</option>}
          {(input.options ?? []).map((option) => (
            <option key={option}>{option}</option>
          ))}
        </select>
        {help}
      </div>
    );
  }
  return (
    <div className="field">
      {label}
      <input
        id={id}
        name={id}
        className="input"
        type={input.type === 'number' ? 'number' : 'text'}
        {...(input.type === 'number' ? { step: 'any' } : {})}
        defaultValue={preset}
        required={input.required}
        autoComplete="off"
        spellCheck={false}
        {...described}
      />
      {help}
    </div>
  );
}
