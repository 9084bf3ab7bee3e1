// expect: never seen
int main() {}
