// How the search takes a query apart (Sphinx lets a site say so). Single letters are in no index, so that the s of
// "the gradient's length" would keep a search from finding anything.
var splitQuery = (query) => query.split(/[^\p{L}\p{N}_]+/u).filter((term) => term.length > 1);
