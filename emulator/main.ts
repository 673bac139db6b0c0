import closeWithGrace from 'close-with-grace'
import { pino } from 'pino'
import { startEmulator } from './index.js'
import { readSettings } from './settings.js'

/** `npm run emulator`: the emulator alone, for any Modal SDK. Logs go to stderr; stdout is shell source to evaluate. */
const { settings, mistakes } = readSettings(process.env)
if (mistakes.length > 0) {
  for (const mistake of mistakes) process.stderr.write(`${mistake}\n`)
  process.exit(1)
}

const log = pino({ level: process.env['LOG_LEVEL'] ?? 'warn' }, pino.destination(2))
const emulator = await startEmulator({ ...settings, log })
process.stdout.write([
  `# ${(await emulator.selfTest).message}`,
  `export MODAL_SERVER_URL=${emulator.url}`,
  `export MODAL_TOKEN_ID=${emulator.tokenId}`,
  `export MODAL_TOKEN_SECRET=${emulator.tokenSecret}`
].join('\n') + '\n')

closeWithGrace({ delay: 5000, logger: false }, async () => { await emulator.close() })
