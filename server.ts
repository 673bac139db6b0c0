import closeWithGrace from 'close-with-grace'
import pretty from 'pino-pretty'
import { buildApp } from './app.js'
import { ConfigError, loadConfig, type Config } from './config.js'

const config = readConfig()
const app = await buildApp(config, loggerOptions(config))
closeWithGrace({ delay: 8000, logger: app.log }, async ({ signal, err }) => {
  const started = performance.now()
  app.log.info({ signal, err }, 'closing')
  await app.close()
  app.log.info({ durationMs: Math.round(performance.now() - started) }, 'closed')
})
await app.listen({ host: config.host, port: config.port })

const url = config.publicUrl ?? app.listeningOrigin
const signInCode = app.signInCode === undefined ? '' : `/#code=${app.signInCode} (signs this browser in)`
app.log.info(`open ${url}${signInCode}`)

function readConfig (): Config {
  try {
    return loadConfig()
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    console.error(error.message)
    process.exit(1)
  }
}

function loggerOptions ({ logLevel }: Config) {
  const options = {
    level: logLevel,
    redact: ['req.headers.authorization', 'req.headers.cookie', 'req.headers["x-api-key"]'],
    // Without the query, which may name files.
    serializers: {
      req: ({ method, url, ip }: { method: string, url: string, ip: string }) =>
        ({ method, path: url.split('?')[0], ip })
    }
  }
  return process.stdout.isTTY ? { ...options, stream: pretty({ ignore: 'pid,hostname', singleLine: true }) } : options
}
