// Reads a repository with tuf-js: refreshes, looks targets up, downloads them, and prints one JSON
// object with the SHA-256 of each by its path, null for what nobody lists.
const { createHash } = require('node:crypto');
const { readFileSync } = require('node:fs');
const { createRequire } = require('node:module');
const { join } = require('node:path');

const [packages, metadataDir, targetDir, url, ...paths] = process.argv.slice(2);
const { Updater } = createRequire(join(packages, 'package.json'))('tuf-js');

async function main() {
  const updater = new Updater({
    metadataDir,
    metadataBaseUrl: `${url}/metadata`,
    targetDir,
    targetBaseUrl: `${url}/targets`,
  });
  await updater.refresh();
  const found = {};
  for (const path of paths) {
    const info = await updater.getTargetInfo(path);
    if (info === undefined) {
      found[path] = null;
      continue;
    }
    const file = await updater.downloadTarget(info, join(targetDir, String(Object.keys(found).length)));
    found[path] = createHash('sha256').update(readFileSync(file)).digest('hex');
  }
  console.log(JSON.stringify(found));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
