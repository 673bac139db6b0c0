import { readFileSync } from 'node:fs'
import t from 'tap'
import { citationsOf, requirementsOf } from '../scripts/citations.js'

t.test('Tests cite requirements in their names, ranges included', async (t) => {
  const source = readFileSync(new URL('fixtures/cited.txt', import.meta.url), 'utf8')
  t.strictSame(citationsOf(source).map(({ cited }) => cited), [['1.2'], ['7.9', '7.10', '8.1'], ['1.1', '1.3']])
})

t.test('Requirements are the numbered paragraphs', async (t) => {
  t.strictSame(requirementsOf('### 1. Title\n\n1.1. **WHEN** it\n1.10. so\nSee 1.2. for more'), ['1.1', '1.10'])
})
