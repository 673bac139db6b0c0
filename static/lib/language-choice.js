import { h } from './dom.js'
import { icon } from './icons.js'
import { chooseLanguage, chosenLanguage, languages, words } from './words.js'

/** A symbol over which lies a choice of languages, each under the name that it gives itself. */
export function languageChoice () {
  const nameOf = (language) => new Intl.DisplayNames([language], { type: 'language' }).of(language)
  const select = h('select', {
    'aria-label': words.page.language, title: words.page.language, onchange: () => chooseLanguage(select.value || undefined)
  },
  h('option', { value: '' }, words.page.languageOfBrowser),
  languages.map((language) => h('option', { value: language, lang: language }, nameOf(language))))
  select.value = chosenLanguage ?? ''
  return h('span', { class: 'quiet language' }, icon('globe'), select)
}
