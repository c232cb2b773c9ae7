const fs = require('fs');
const say = (file, line) => fs.appendFileSync(process.env[file], `${line}\n`);
console.log(`main ${process.env.INPUT_A_WORD} ${process.cwd() === process.env.GITHUB_WORKSPACE}`);
say('GITHUB_OUTPUT', 'said=this');
say('GITHUB_ENV', 'ADDED=that');
say('GITHUB_STATE', 'kept=for later');
