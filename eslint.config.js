import neostandard, { resolveIgnoresFromGitignore } from 'neostandard'

const browser = Object.fromEntries([
  'document', 'window', 'location', 'history', 'navigator', 'localStorage', 'sessionStorage', 'requestAnimationFrame'
].map((name) => [name, 'readonly']))

export default [
  ...neostandard({ ts: true, ignores: [...resolveIgnoresFromGitignore(), 'clients/typescript/schema.ts'] }),
  {
    rules: {
      '@stylistic/max-len': ['error', {
        code: 120, ignoreStrings: true, ignoreTemplateLiterals: true, ignoreRegExpLiterals: true
      }]
    }
  },
  // A TypeBox schema and its static type share one name; the compiler finds real redeclarations.
  { files: ['**/*.ts'], rules: { '@typescript-eslint/no-redeclare': 'off' } },
  {
    files: ['test/**/*.ts'],
    rules: {
      'no-restricted-syntax': ['error', {
        selector: "CallExpression[callee.property.name='match'] > .arguments:nth-child(2) ArrayExpression[elements.length=0]",
        message: 'As a pattern of match, an empty array matches every array: say { length: 0 }.'
      }]
    }
  },
  { files: ['static/**/*.js'], languageOptions: { globals: browser } }
]
