import t from 'tap'
import { redact, redactor, secretsOf } from '../../lib/redact.js'

t.test('Secrets of Claude\'s environment are taken out of a text, every time they occur', async (t) => {
  const env = { ANTHROPIC_API_KEY: 'sk-123', AWS_BEARER_TOKEN_BEDROCK: 'a.b', ANTHROPIC_BASE_URL: 'http://model' }
  t.strictSame(secretsOf(env), ['sk-123', 'a.b'])
  t.equal(redactor(secretsOf(env))('sk-123 axb a.b sk-12 sk-123 http://model'), '[redacted] axb [redacted] sk-12 [redacted] http://model')
  t.equal(redact('nothing', []), 'nothing')
  t.equal(redact('key=run-token-eyJh.eyJ-_.s1g, run-token-, run-token-a.b', []), 'key=[redacted], run-token-, run-token-a.b')
})
