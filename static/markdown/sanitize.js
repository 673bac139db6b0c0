import purify from '../vendor/purify.js'

/** The only elements and attributes that generated HTML may contain. */
const allowed = {
  ALLOWED_TAGS: ['a', 'blockquote', 'br', 'code', 'del', 'em', 'h3', 'h4', 'h5', 'h6', 'hr', 'li', 'ol', 'p', 'pre', 'span',
    'strong', 'sup', 'table', 'tbody', 'td', 'th', 'thead', 'tr', 'ul'],
  ALLOWED_ATTR: ['align', 'class', 'href', 'start'],
  ALLOW_DATA_ATTR: false,
  RETURN_DOM_FRAGMENT: true
}

/** HTML as nodes, without anything that is not known to be harmless. */
export function sanitize (html) {
  return purify.sanitize(html, allowed)
}
