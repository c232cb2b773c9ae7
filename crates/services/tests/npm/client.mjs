// One call of a JavaScript client of first-party actions, unpatched.
//   node client.mjs CLIENT COMMAND JSON
// The last line of the output is the result. CLIENTS names the directory of node_modules.
const [, , name, command, argument] = process.argv
const args = JSON.parse(argument)
const files = {
  'artifact-v3': 'artifact-client.js',
  'artifact-v4': 'artifact.js',
  'artifact-v4-cjs': 'artifact.js',
  'cache-v1': 'cache.js',
  'cache-v2': 'cache.js'
}
const module = await import(`${process.env.CLIENTS}/node_modules/${name}/lib/${files[name]}`)

const commands = {
  'artifact-v3': () => {
    const client = module.create()
    return {
      upload: a => client.uploadArtifact(a.name, a.files, a.root, a.options),
      download: a => client.downloadArtifact(a.name, a.path),
      downloadAll: a => client.downloadAllArtifacts(a.path)
    }
  },
  'artifact-v4': () => {
    const client = new module.DefaultArtifactClient()
    return {
      upload: a => client.uploadArtifact(a.name, a.files, a.root, a.options ?? {}),
      list: a => client.listArtifacts(a),
      get: a => client.getArtifact(a.name),
      download: a => client.downloadArtifact(a.id, {path: a.path, expectedHash: a.hash}),
      delete: a => client.deleteArtifact(a.name)
    }
  },
  'cache-v2': () => ({
    save: a => module.saveCache(a.paths, a.key),
    restore: a => module.restoreCache(a.paths, a.key, a.restoreKeys ?? [])
  })
}
commands['artifact-v4-cjs'] = commands['artifact-v4']
commands['cache-v1'] = commands['cache-v2']

let result
try {
  result = {ok: (await commands[name]()[command](args)) ?? null}
} catch (e) {
  result = {error: `${e.name}: ${e.message}`}
}
console.log(`\nRESULT ${JSON.stringify(result)}`)
