// Prints every requirement of docs/requirements.md with the tests that cite it, or the reason why none does; fails when
// there is neither.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { citationsOf, reasons, requirementsOf } from './citations.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const read = (path: string) => readFileSync(join(root, path), 'utf8')
const numbers = requirementsOf(read('docs/requirements.md'))
const tests = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.test.ts')).sort()
  .flatMap((file) => citationsOf(read(`test/${file}`)).map((test) => ({ ...test, file: `test/${file}` })))

const problems: string[] = []
for (const number of numbers) {
  const proofs = tests.filter(({ cited }) => cited.includes(number)).map(({ file, name }) => `${file} > ${name}`)
  const reason = reasons[number]
  if (proofs.length === 0 && reason === undefined) problems.push(`${number} has neither a test nor a reason`)
  if (proofs.length > 0 && reason !== undefined) problems.push(`${number} has a test: its reason may go`)
  console.log(`${number}\n${(proofs.length > 0 ? proofs : [reason ?? 'NOTHING']).map((line) => `    ${line}`).join('\n')}`)
}
for (const { file, name, cited } of tests) {
  const unknown = cited.filter((number) => !numbers.includes(number))
  if (unknown.length > 0) problems.push(`there is no requirement ${unknown.join(', ')}: ${file} > ${name}`)
}
const reasoned = numbers.filter((number) => reasons[number] !== undefined)
console.log(`${numbers.length} requirements: ${numbers.length - reasoned.length} with tests, ${reasoned.length} with a reason`)
for (const problem of problems) console.log(`FAILED: ${problem}`)
process.exitCode = problems.length > 0 ? 1 : 0
